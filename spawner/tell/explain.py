"""What `--explain` tells: for each step the call, what it does, why now and not earlier, the page.

`TEXTS` has the words, by the topics that the steps name, in the order of a run; `ACTS` what the
processes do between the steps, to get from one to the next. So a plain run reads none of it. A step
without words is no step: a test reads every module for topics.

`script` is the whole story of a plan, for `--dry-run`. A run tells it piece by piece, by `telling`.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, NamedTuple

from spawner.errors import INIT, LAUNCHER, SCOUT, STAGE
from spawner.joining.target import Joins
from spawner.planning import is_staged

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from spawner.spec import Spec
    from spawner.steps import Look, Part, Step, Steps

_WIDTH = 88
"""Columns of the explanation; calls aren't wrapped, so that they can be copied."""


class Text(NamedTuple):
    """The text of a topic: what a call `does`, why it comes `now`, and the manual `pages`."""

    does: str
    now: str
    pages: str


TEXTS = {
    # The launcher, and the fork of the stage.
    "become-keepers-subreaper": Text(
        "From now on a process below this one that loses its parent becomes this one's child, not "
        "that of the host's init.",
        "Before there is any orphan. The stage, which is about to be forked, takes care of all "
        "that is below it; if the stage is killed, its orphans come here.",
        "PR_SET_CHILD_SUBREAPER(2const)",
    ),
    "become-subreaper": Text(
        "From now on a process below this one that loses its parent becomes this one's child, not "
        "that of the host's init.",
        "The stage is about to fork the init and to end. The init is to become the launcher's "
        "child then, since only a parent learns how a process ended; so this comes before either "
        "exists.",
        "PR_SET_CHILD_SUBREAPER(2const)",
    ),
    "fork-for-output": Text(
        "A copy of the launcher begins to run that isn't part of the container: it will pass on "
        "what the program writes, and count it.",
        "Before the launcher unshares anything, since what is forked later may be in the PID "
        "namespace of the container, and in reach of the program.",
        "fork(2), pid_namespaces(7)",
    ),
    "fork-aside": Text(
        "A copy of the launcher begins to run that isn't part of the container: it will connect "
        "the container's network, from outside.",
        "Before the launcher unshares anything, since what is forked later may be in the PID "
        "namespace of the container.",
        "fork(2), pid_namespaces(7)",
    ),
    "fork-witness": Text(
        "A copy of the launcher, the witness, begins to run. It does nothing but stop (^Z) when "
        "the terminal stops the process group of the program, which it will be put into.",
        "There's a terminal, and the program will be PID 1, which no terminal can stop: the "
        "launcher would never know. Before the PID namespace, since the witness has to be outside.",
        "fork(2), setpgid(2), pid_namespaces(7)",
    ),
    "open-pty": Text(
        "The launcher gets both sides of a new terminal: what is written to one side can be read "
        "at the other. It gets the modes and the size of the caller's terminal.",
        "While the /dev is still the caller's, and before the relay is forked, which alone will "
        "hold the side from which the program's terminal is controlled.",
        "openpty(3), pty(7), pts(4)",
    ),
    "open-inner-pty": Text(
        "The process gets both sides of a new terminal of the container's own, with the modes "
        "and the size of the caller's terminal. The side from which it is controlled goes to the "
        "relay.",
        "After the change of ids, so that the terminal belongs to the program's user.",
        "openpty(3), pts(4), unix(7)",
    ),
    "fork-relay": Text(
        "A copy of the launcher, the relay, begins to run. It will carry bytes between the "
        "caller's terminal and the program's. Where the keyboard is for the program, it puts the "
        "caller's terminal into raw mode, as soon as only the exec is left.",
        "Before the launcher unshares anything, since the relay isn't part of the container. It "
        "stays in the launcher's process group, as no other may read the caller's terminal.",
        "fork(2), termios(3), tty_ioctl(4)",
    ),
    "fork-stage": Text(
        "A copy of the launcher, the stage, begins to run. It will enter what the launcher must "
        "not.",
        "A process that has entered a user namespace can't come back, and from inside it could map "
        "no more than its own id. So one process goes in, and one stays outside, with all the "
        "rights that the caller has there.",
        "fork(2), user_namespaces(7)",
    ),
    "fork-keeper": Text(
        "A copy of the launcher, the stage, begins to run. It will stay, as the keeper.",
        "There is no new PID namespace, whose end would be the end of all that is in it. So a "
        "process is needed that outlives the program, and sees that nothing else does.",
        "fork(2), pid_namespaces(7)",
    ),
    "make-stage-group": Text(
        "The stage leaves the launcher's process group for one of its own.",
        "First thing: a ^C at the terminal goes to every process of the foreground group. Only the "
        "launcher is to get it, which then ends all the others in order.",
        "setpgid(2), credentials(7)",
    ),
    # The user namespace.
    "unshare-user": Text(
        "The process moves into a new user namespace. Inside it has every capability, over this "
        "namespace and over those that will be made from in here; outside it has no more rights "
        "than before. Until the maps are written its ids read as 65534, nobody.",
        "First of all namespaces, because it gives the right to make the others: without it, "
        "unshare(2) requires CAP_SYS_ADMIN. The kernel refuses it to a process with threads, in a "
        "chroot, and where a limit or a security module forbids it.",
        "unshare(2), user_namespaces(7)",
    ),
    "deny-setgroups": Text(
        "No process inside may call setgroups(2) any more, for good.",
        "The next write, of the group map, is refused to an unprivileged process that hasn't given "
        "this up: a member of a group that a file's mode shuts out could otherwise drop the "
        "group, and get in.",
        "user_namespaces(7)",
    ),
    "map-gid": Text(
        "The group ids of the new user namespace get a meaning: each line is an id inside, the id "
        "outside that it stands for, and how many follow in a row.",
        "By the launcher, from outside, where the ids are the caller's own; in one write, since a "
        "map can be written only once. Whether groups or users come first makes no difference to "
        "the kernel.",
        "user_namespaces(7)",
    ),
    "map-uid": Text(
        "The same for user ids. From here on the caller has an id inside: root's, unless "
        "another was asked for. On files and to other users it is the caller, as ever.",
        "Before the exec, and before the init takes any id: over an exec only root keeps its "
        "capabilities, and this map says which id is root; no process can take an id that isn't "
        "in it.",
        "user_namespaces(7), capabilities(7)",
    ),
    "map-gid-by-helper": Text(
        "newgidmap, which has the right to, writes the group map: the caller's own group, and "
        "ranges that /etc/subgid gives to the caller, which it checks.",
        "From outside: inside, the host's root has no id, and its set-uid bits count for "
        "nothing; and never after no_new_privs, which switches them off. Setgroups can stay "
        "allowed: it was root who gave the ranges.",
        "newgidmap(1), subgid(5), user_namespaces(7)",
    ),
    "map-uid-by-helper": Text(
        "newuidmap, which has the right to, writes the user map: the caller's own id, and ranges "
        "that /etc/subuid gives to the caller, which it checks.",
        "From outside, and once: a map is written whole, in one write of at most 340 lines, or "
        "not at all.",
        "newuidmap(1), subuid(5), user_namespaces(7)",
    ),
    # What is joined.
    "hide": Text(
        "From now on only root of this host can trace the process, read its memory, or "
        "reach its descriptors and its program through /proc. Forks inherit that.",
        "Before anything is entered: from then on processes in there may see this one, and it has "
        "descriptors of the outside. The exec of the program ends it.",
        "PR_SET_DUMPABLE(2const), ptrace(2)",
    ),
    "fork-scout": Text(
        "A process that looks in the launcher's place: a process that enters a user namespace "
        "can't come back, and a file system that doesn't answer may forever block a process that "
        "asks it.",
        "Before anything is made: it ends when it has told what it found.",
        "fork(2), setns(2)",
    ),
    "join-user": Text(
        "The process enters a user namespace that exists. In there it has every capability, over "
        "the namespace and over all that was made in it.",
        "A caller without rights enters it first, since it gives the right to enter the others, if "
        "it's the caller's own or below. One with rights, such as root, enters it last: the others "
        "may be out of its reach.",
        "setns(2), user_namespaces(7)",
    ),
    "join-cgroup": Text(
        "The target's control group shows as the root of all, in /proc/self/cgroup for instance. "
        "The process itself stays in the one that it is in: that counts and limits it as before.",
        "After the fork: it's for this process alone. For the kernel, its order among the next "
        "ones makes no difference.",
        "setns(2), cgroup_namespaces(7)",
    ),
    "join-ipc": Text(
        "The message queues, the semaphores and the shared memory of System V are those of the "
        "target, and so are the message queues of POSIX.",
        "Before or after the user namespace is entered, whenever the process has the right to "
        "enter: as for every namespace that belongs to one.",
        "setns(2), ipc_namespaces(7)",
    ),
    "join-net": Text(
        "The interfaces, addresses, routes and ports are the target's, and the abstract names of "
        "unix(7). Sockets that are open stay in the network in which they were made.",
        "Before the program makes any socket, which belongs to the network that its maker is in "
        "at that moment.",
        "setns(2), network_namespaces(7)",
    ),
    "join-uts": Text(
        "The host name and the NIS domain name are those of the target.",
        "Before the program asks for them; no process asks earlier.",
        "setns(2), uts_namespaces(7)",
    ),
    "join-time": Text(
        "The clocks that count from the start of the host show what they show the target. Their "
        "offsets were set before the first process was in there, and can't change any more.",
        "By the init itself, which has a single thread, as the kernel requires: a process that "
        "joins one is in it at once, unlike one that makes it.",
        "setns(2), time_namespaces(7)",
    ),
    "join-mount": Text(
        "The root and the working directory become the root of the target's mounts: from then on "
        "every path is looked up in the file systems of the other side.",
        "Last of these, since a path that is opened later leads to what processes there have put "
        "in its place. What is needed from this side is open by now, or has been read in.",
        "setns(2), mount_namespaces(7)",
    ),
    "join-pid": Text(
        "The next child will be a member of that PID namespace. This process itself stays where it "
        "is: a pid never changes.",
        "Right before the fork, and after the user namespace, which gives the right to do it.",
        "setns(2), pid_namespaces(7)",
    ),
    "keep-descriptors-out": Text(
        "Whatever the caller had open, other than the standard streams and what was named, is "
        "closed. What is pyspawn's own is closed when the program is executed.",
        "While /proc, which lists the open descriptors, is still the caller's. In there a "
        "descriptor of a directory would be a way out.",
        "close(2), proc_pid_fd(5)",
    ),
    "import-no-more": Text(
        "Python loads the last modules that may be needed, and forgets how to find others.",
        "Before the mounts are others': a module that is imported later would be read from their "
        "files, and run with whatever rights are left here.",
        "mount_namespaces(7)",
    ),
    "drop-groups": Text(
        "The supplementary groups, which are root's here, are given up.",
        "Before the user namespace is entered, since it may deny setgroups; then they'd be "
        "carried along.",
        "setgroups(2), user_namespaces(7)",
    ),
    "forbid-user-namespaces": Text(
        "The new user namespace may hold one other, which the stage makes, with the same ids, and "
        "enters. So none can be made any more in either of them, by anybody: with all "
        "capabilities in the inner one, the program has none over the outer one and its limit. "
        "Afterwards a process that the stage forks tries it, and has to fail.",
        "Before the first other namespace, since all that are made from here on are to belong to "
        "the inner one; together with the maps, since another fork of the stage writes the same "
        "ones for it.",
        "user_namespaces(7), namespaces(7)",
    ),
    # What is for children.
    "unshare-pid": Text(
        "The next child starts a new PID namespace, as its process 1. This process itself stays "
        "where it is: a pid never changes.",
        "After the user namespace, which gives the right, and right before the fork: the first "
        "child after this call becomes PID 1, and when that ends the kernel kills all the others "
        "and allows no more forks.",
        "unshare(2), pid_namespaces(7)",
    ),
    "unshare-time": Text(
        "The next child starts in a new time namespace, where CLOCK_MONOTONIC and CLOCK_BOOTTIME "
        "can be set ahead or back. The date and the time of day are the host's, as before.",
        "Offsets can be written only while the namespace is empty: between this call and the fork.",
        "unshare(2), time_namespaces(7)",
    ),
    "set-clock": Text(
        "The clock will show that many seconds more inside, or less.",
        "After the namespace exists and before a process is in it, which would see its clock jump: "
        "later the kernel answers EACCES. A clock that would be below zero is refused (ERANGE).",
        "time_namespaces(7), clock_gettime(2)",
    ),
    # The init.
    "keep": Text(
        "The stage becomes the parent of whatever is orphaned below it: it is the keeper now.",
        "Before the init exists, so that nothing that the program leaves behind can slip away "
        "to another process.",
        "PR_SET_CHILD_SUBREAPER(2const)",
    ),
    "open-target": Text(
        "The launcher gets hold of it by a descriptor, and checks by a pidfd that the process "
        "still lives: so it isn't that of another process, to which the same pid was given since.",
        "Outside, before anything is entered: what a path means inside is up to those inside.",
        "open(2), proc_pid_ns(5), pidfd_open(2)",
    ),
    "open-source": Text(
        "The launcher gets hold of a file or directory that is to be bound in the container.",
        "Outside, before anything is made, with the rights that the caller has there. Later it "
        "shows whether it's still the same.",
        "open(2)",
    ),
    "open-file": Text(
        "The scout gets hold of the namespace by a descriptor, looks of which kind it is, and "
        "passes it on to the launcher.",
        "Outside, before anything is entered: what a path means inside is up to those inside. By "
        "the scout, since the file may be on a file system that doesn't answer.",
        "open(2), NS_GET_NSTYPE(2const), unix(7)",
    ),
    "fork-among-others": Text(
        "The process begins to run that will be the program: in the PID namespace that has been "
        "entered for children, if one has, and else in that of its parent. There are others in it, "
        "and it isn't process 1.",
        "A PID namespace is entered by being forked into it, and only so.",
        "fork(2), pid_namespaces(7)",
    ),
    "fork-init": Text(
        "The first process of the container begins to run: inside the namespaces that were made "
        "for children, and as process 1 of a new PID namespace.",
        "Exactly one fork after the namespaces for children are made, and once all exists that "
        "has to be there before the first process.",
        "fork(2), pid_namespaces(7)",
    ),
    "open-pidfd": Text(
        "The launcher gets hold of the init by a descriptor. Signals go through it, and its end "
        "can be waited for.",
        "As soon as there's an init, which goes on meanwhile: a pid may be given to another "
        "process once its owner is gone and reaped, a pidfd never is.",
        "pidfd_open(2), pidfd_send_signal(2)",
    ),
    "make-group": Text(
        "The init leaves for a process group of its own.",
        "First thing that it does: a ^C at the terminal goes to every process of the foreground "
        "group, and is to reach the program once, by way of the launcher.",
        "setpgid(2), credentials(7)",
    ),
    "start-session": Text(
        "The init leaves for a session of its own, and a process group in that. The session has no "
        "controlling terminal: /dev/tty isn't the caller's any more, nothing can be put there as "
        "if it were typed (TIOCSTI), and its foreground can't be taken.",
        "First thing that it does: a process that already leads a process group can't start a "
        "session. A ^C at the caller's terminal is for another session now.",
        "setsid(2), credentials(7), tty_ioctl(4)",
    ),
    "set-nice": Text(
        "The scheduler gives the process a smaller share of the processors than those with a lower "
        "nice value; what it starts inherits that. Afterwards it is read back.",
        "While the init has all the rights that it came with: a value lower than the caller's "
        "needs CAP_SYS_NICE, which is lost with a change of user.",
        "setpriority(2), sched(7)",
    ),
    "set-oom-score-adj": Text(
        "Where memory runs out, the kernel ends the process with the highest score, to which this "
        "adds; what the process starts inherits it. Afterwards it is read back.",
        "While /proc is the caller's and the file belongs to this process's user. A value lower "
        "than the caller's needs CAP_SYS_RESOURCE.",
        "proc_pid_oom_score_adj(5)",
    ),
    "make-cgroup": Text(
        "A control group is a directory: the kernel counts what the processes in it use, and "
        "enforces the limits that are written into its files. Each is read back. When all of the "
        "container has ended, the group is removed.",
        "Before anything is forked, so that a limit that can't be had ends the start here. In "
        "version 1 each controller has directories of its own.",
        "cgroups(7)",
    ),
    "enter-cgroup": Text(
        "The init moves into the control group, and what it forks will be in there as well. The "
        "launcher, which has opened the file for this, stays outside.",
        "Before the init makes a cgroup namespace, whose root is the group that its maker is in; "
        "and before the program and all that it starts.",
        "cgroups(7), cgroup_namespaces(7)",
    ),
    "check-users": Text(
        "Without a control group a limit on processes counts those of a user, and would be one for "
        "each user id that the container has.",
        "Once the map is written, and before the program runs.",
        "getrlimit(2), user_namespaces(7)",
    ),
    "unshare-mount": Text(
        "The init gets a copy of the tree of mounts. What it mounts from now on is seen only here, "
        "once the propagation is off.",
        "By the init itself, since this one is for the caller of unshare(2), not for its children; "
        "and before the first mount.",
        "mount_namespaces(7), unshare(2)",
    ),
    "unshare-uts": Text(
        "The init gets a host name and a domain name of its own, copies of the host's.",
        "Before they are set, which would otherwise rename the host.",
        "uts_namespaces(7), unshare(2)",
    ),
    "unshare-ipc": Text(
        "The init gets System V queues, semaphores and shared memory, and POSIX message queues, of "
        "its own: there are none yet. What is left of them goes with the namespace.",
        "Before the program can make or find any.",
        "ipc_namespaces(7), unshare(2)",
    ),
    "unshare-net": Text(
        "The init gets network devices, addresses, routes, firewall rules and ports of its own: "
        "nothing but a loopback interface, which is down. Abstract Unix sockets of the host are "
        "out of reach as well.",
        "Before the interface is brought up: each network namespace has its own.",
        "network_namespaces(7), unshare(2)",
    ),
    "unshare-cgroup": Text(
        "The control group that the init is in becomes the root of those that it can see: "
        "/proc/self/cgroup reads as /.",
        "The init has to be in its group by now, for the root stays where it was at this moment.",
        "cgroup_namespaces(7), unshare(2)",
    ),
    "start-carrier": Text(
        "A program outside serves an interface of the container, and carries the packets that "
        "come there to sockets of the host's, and back: so no right to the host's network is "
        "needed.",
        "The network namespace exists, and nothing runs in it yet. The program is to find its "
        "network ready, so this waits until the helper says so.",
        "slirp4netns(1), passt(1), network_namespaces(7)",
    ),
    "make-veth": Text(
        "A pair of interfaces is made: what is sent into one comes out of the other. One is a port "
        "of the bridge, the other is inside, with its address and its route.",
        "The network namespace exists, so there's an inside for the one end, and nothing runs in "
        "it yet: the program is to find its network ready.",
        "veth(4), rtnetlink(7), network_namespaces(7)",
    ),
    # The inside.
    "make-private": Text(
        "Mounts and unmounts no longer spread between this tree of mounts and the host's.",
        "A new mount namespace is a copy whose mounts are still tied to the originals. On most "
        "hosts these are shared, and the next mount would appear outside, too; in a new user "
        "namespace what is mounted outside would still appear in here. So this is the first thing "
        "done.",
        "mount_namespaces(7), mount(2)",
    ),
    "make-slave": Text(
        "What the host mounts or unmounts from now on happens in here as well, but nothing that "
        "is mounted in here is seen outside.",
        "A new mount namespace is a copy whose mounts are still peers of the originals: on most "
        "hosts they're shared, both ways. So this is the first thing done in there.",
        "mount_namespaces(7), mount(2)",
    ),
    "make-shared": Text(
        "Mounts and unmounts spread, within this tree of mounts and, without a new user namespace, "
        "between it and the host's own.",
        "First thing in there, so that it holds for whatever is mounted next.",
        "mount_namespaces(7), mount(2)",
    ),
    "mount-proc-on": Text(
        "The directory is opened part by part, through no symbolic link, and a new proc file "
        "system covers what was opened. It shows the processes of the PID namespace that the init "
        "is in.",
        "By the init, since a proc file system belongs to the PID namespace of the process that "
        "mounts it. On what is open and not on a path, since a path can lead elsewhere by the "
        "time of the mount, if others may write to a part of it.",
        "mount(2), fchdir(2), open(2), proc(5)",
    ),
    "mount-proc-apart": Text(
        "The directory is opened, through no symbolic link. What is mounted there takes no part in "
        "the propagation any more; then a new proc covers it, which shows the processes of the PID "
        "namespace that the init is in.",
        "By the init, since a proc file system belongs to the PID namespace of the process that "
        "mounts it. Mounts spread to the host's own tree, as was asked for: a /proc that did "
        "would cover the host's.",
        "mount_namespaces(7), proc(5), mount(2)",
    ),
    "mount-proc": Text(
        "A new /proc covers the old one. It shows the processes of the new PID namespace, and "
        "no others.",
        "A proc file system belongs to the PID namespace of the process that mounts it: so this "
        "is for the init, not for the process that forked it, and comes after the tree of mounts "
        "is private. In a user namespace the kernel requires a /proc on which nothing is masked.",
        "proc(5), pid_namespaces(7), mount(2)",
    ),
    "copy-source": Text(
        "The init opens the source of a bind anew, checks that it is what the launcher has opened, "
        "and copies the mounts there and below. The copy is mounted nowhere yet. It gets its flags "
        "at once, all of it, so that no mount below stays writable.",
        "Once mounts don't spread any more, and before any is made that could cover the source. "
        "Anew, since the kernel binds nothing of another mount namespace.",
        "open_tree(2), mount_setattr(2), mount_namespaces(7)",
    ),
    "change-root": Text(
        "The mounts of the directory and below are copied, the copy is mounted on the directory "
        "itself, and becomes the root of this mount namespace. The old root is mounted over it for "
        "the time being.",
        "After the sources of binds are copied, which are paths of the old root, and before all "
        "that is mounted on paths of the new.",
        "pivot_root(2), open_tree(2), move_mount(2)",
    ),
    "make-root": Text(
        "A new, empty file system in memory is mounted on the root directory, and becomes the root "
        "of this mount namespace. The old root is mounted over it for the time being.",
        "After the sources of binds are copied, which are paths of the old root, and before all "
        "that is mounted on paths of the new, where mount points are made.",
        "fsopen(2), fsmount(2), move_mount(2), pivot_root(2), tmpfs(5)",
    ),
    "read-back-mounts": Text(
        "The kernel lists all mounts. Each that was made here is looked at by its number, with all "
        "that is mounted below: it has the flags that were asked for, or there's no container.",
        "Once all is mounted, since to list the mounts is what takes time; nothing of the "
        "container runs before.",
        "proc_pid_mountinfo(5), statx(2)",
    ),
    "finish-root": Text(
        "From now on nothing is made or changed in the new root itself; each file system mounted "
        "in it stays as it was asked for. Whether the kernel did that is read back.",
        "After the last mount, since mount points are made in the root until then.",
        "mount(2), proc_pid_mountinfo(5)",
    ),
    "change-root-overlay": Text(
        "An overlay is laid over a copy of the directory's mount, and becomes the root of this "
        "mount namespace: what changes there is kept in memory, or in a directory that was named "
        "for it. The old root is mounted over it for the time being.",
        "After the sources of binds are copied, which are paths of the old root, and before all "
        "that is mounted on paths of the new.",
        "pivot_root(2), mount(8), fsopen(2), fsconfig(2), move_mount(2)",
    ),
    "leave-old-root": Text(
        "The old root goes, with all that is mounted below: no path leads to files of the host "
        "any more, except to what was bound.",
        "After /proc is mounted: the kernel lets a user namespace mount one only where one can be "
        "seen. Nothing is unmounted outside, since this is a copy of the mounts.",
        "umount2(2), pivot_root(2), mount_namespaces(7)",
    ),
    "bind": Text(
        "The target is opened part by part, links being followed by their text. Then the copy is "
        "mounted on what was opened.",
        "After the sources are copied, and in the order that was asked for: what would hide an "
        "earlier mount or the working directory is refused.",
        "move_mount(2), path_resolution(7), proc_pid_mountinfo(5)",
    ),
    "mount-dev": Text(
        "A small file system in memory covers the target. The devices are the host's, bound one by "
        "one: each is checked to be the device that it should be. The terminals of the new "
        "devpts are the container's own, and shm is for shared memory.",
        "In the order that was asked for. Bound, not made, since a user namespace can't make "
        "devices.",
        "null(4), random(4), tty(4), pts(4), shm_overview(7), move_mount(2)",
    ),
    "mount-overlay": Text(
        "An overlay covers the directory and shows what it holds. What changes is kept in a file "
        "system in memory, or in a directory that was named for it, and the directory itself stays "
        "as it is. A program that starts below "
        "it goes to the same directory in the overlay.",
        "In the order that was asked for: it may lie over an earlier bind. What is mounted below "
        "the directory can't be seen through an overlay, and is mounted again later, or refused.",
        "mount(8), fsopen(2), fsconfig(2), fsmount(2), move_mount(2)",
    ),
    "mount-proc-more": Text(
        "Another proc file system of the same PID namespace is mounted, on what the path leads to.",
        "After the container's own on /proc: in a user namespace the kernel mounts a proc only "
        "where an unmasked one can be seen.",
        "proc(5), pid_namespaces(7), move_mount(2)",
    ),
    "mount-mqueue-more": Text(
        "The message queues of the new IPC namespace are shown as files. There are none yet.",
        "In the order that was asked for, and after the IPC namespace is new: the host's queues "
        "belong to another.",
        "mq_overview(7), ipc_namespaces(7), move_mount(2)",
    ),
    "make-directory": Text(
        "The directory is made, with those that lead to it, each in its open parent. What is there "
        "already is used as it is.",
        "In the order that was asked for. It's made in a file system of the container's own, which "
        "was mounted earlier: in any other it would be the host's.",
        "mkdir(2), path_resolution(7)",
    ),
    "make-text": Text(
        "A file is made in a file system of the container's own, with a text that the launcher "
        "has made up: so the container has one without showing the host's.",
        "In the order that was asked for, once what it lies in is mounted.",
        "open(2), write(2)",
    ),
    "make-link": Text(
        "The link is made in an open directory. Its text is not looked at: where it leads is found "
        "out when it's used, in the container.",
        "In the order that was asked for. It's made in a file system of the container's own, which "
        "was mounted earlier.",
        "symlink(2)",
    ),
    "make-file": Text(
        "A new file gets what is read from the descriptor, to the end of it. The program doesn't "
        "get the descriptor, unless it's a standard stream.",
        "In the order that was asked for. It's made in a file system of the container's own, which "
        "was mounted earlier, and whose bound holds for it.",
        "open(2), read(2), write(2)",
    ),
    "bind-data": Text(
        "A file in a file system of its own, which is bounded, gets what is read from the "
        "descriptor, to the end of it. The file is bound, read-only; the rest of that file system "
        "is mounted nowhere.",
        "In the order that was asked for.",
        "fsopen(2), open_tree(2), mount_setattr(2), move_mount(2)",
    ),
    "mask": Text(
        "The path is opened part by part. An empty file system, read-only and without room, "
        "covers a directory; the device null covers anything else. It is checked once more to be "
        "that device. Where there's nothing, nothing is done.",
        "In the order that was asked for, so that it covers what is mounted there by then.",
        "null(4), fsopen(2), move_mount(2), path_resolution(7)",
    ),
    "make-read-only": Text(
        "The path is opened part by part, the mounts there and below are copied, the copy is made "
        "read-only and mounted on the same place. Each mount in it is read back.",
        "In the order that was asked for: what is mounted there later is as it was asked for.",
        "open_tree(2), mount_setattr(2), move_mount(2), proc_pid_mountinfo(5)",
    ),
    "mount-tmpfs": Text(
        "A new, empty file system in memory covers the target, which is opened part by part. Its "
        "bounds are read back: without any, it could fill half of the memory.",
        "In the order that was asked for: what lies in it is mounted later, and finds its mount "
        "points made.",
        "fsopen(2), fsmount(2), move_mount(2), tmpfs(5)",
    ),
    "find-init": Text(
        "Each of the files without which pyinit can't start is opened, and closed again.",
        "After the mounts, one of which may cover the place where they are: the interpreter would "
        "only say that a module is missing.",
        "open(2)",
    ),
    "bind-resolver": Text(
        "A file in memory covers the host's /etc/resolv.conf. It names the address at which the "
        "helper answers for the host's name server, which may listen on the host's own "
        "loopback interface, out of reach from here.",
        "The tree of mounts is private, so the host keeps its own; and /proc, through which the "
        "place is named that the path leads to, is there.",
        "mount(2), umount2(2)",
    ),
    "set-hostname": Text(
        "The container gets its own name.",
        "The UTS namespace is new, so nothing else is renamed; and the process that made it has "
        "the right to name it.",
        "sethostname(2), uts_namespaces(7)",
    ),
    "bring-up-loopback": Text(
        "The interface lo comes up, and with it 127.0.0.1 and ::1.",
        "In a new network namespace it is there, but down, and many programs count on it.",
        "netdevice(7), network_namespaces(7)",
    ),
    "persist": Text(
        "Each new namespace, except the PID namespace, gets a file that stands for it and keeps "
        "it when the last process has left.",
        "When all of them exist, and before the program runs: each file is there once the "
        "program is. From outside, since the files are to be seen there.",
        "mount(2), namespaces(7)",
    ),
    "close-namespaces": Text(
        "What has been entered isn't needed any more, nor is /proc as it is outside.",
        "Before a path is followed that a process inside may have laid: one through /proc/self/fd "
        "would lead out.",
        "close(2), namespaces(7)",
    ),
    "enter-root": Text(
        "The target's root becomes this process's, by a descriptor that was opened outside.",
        "After the mounts are the target's: the root of a process may be a directory in them.",
        "fchdir(2), chroot(2)",
    ),
    "enter-directory": Text(
        "The process goes to where the target is, and looks whether that is inside of the root.",
        "After the root, which decides what is inside.",
        "fchdir(2)",
    ),
    "change-directory": Text(
        "The program will start in this directory.",
        "After the mounts, so that the path leads where it will lead for the program.",
        "chdir(2)",
    ),
    "change-directory-inside": Text(
        "The program will start in this directory. Each part of the path is opened in turn, and "
        "links are followed by their text: the kernel would follow one of /proc to whatever it "
        "stands for. Then the way up from there has to lead to the root, mount by mount.",
        "After the mounts, so that the path leads where it will lead for the program.",
        "path_resolution(7), fchdir(2), statx(2), proc_pid_fd(5)",
    ),
    "clear-environment": Text(
        "No variable of the caller reaches the program.",
        "Before those that were asked for are set.",
        "clearenv(3), environ(7)",
    ),
    "set-variable": Text(
        "The program gets this variable. No system call is needed: the exec hands over all of "
        "them.",
        "After the caller's variables were kept or cleared, so that it wins.",
        "setenv(3), environ(7)",
    ),
    "pass-listeners": Text(
        "The variable says that the sockets which systemd passed are for this process: its pid is "
        "the one that the program will see.",
        "By the init, which has that pid: pyspawn itself, which the variable named, has another.",
        "sd_listen_fds(3), setenv(3)",
    ),
    # Who the program is.
    "set-groups": Text(
        "The supplementary groups are replaced.",
        "Credentials come last, since everything above needed rights that go with them; and of "
        "them the groups come first: a process that isn't root any more may not change them.",
        "setgroups(2), credentials(7)",
    ),
    "set-group": Text(
        "The real, the effective and the saved group id change: for good.",
        "After the supplementary groups and before the user, while the process still may.",
        "setresgid(2), credentials(7)",
    ),
    "set-user": Text(
        "The real, the effective and the saved user id change for good, and a process "
        "that leaves user id 0 loses its capabilities.",
        "Last of the credentials: after it there's no right to anything above.",
        "setresuid(2), capabilities(7)",
    ),
    "take-environment": Text(
        "The variables are those of the target, which the launcher has read, and none of the "
        "caller's.",
        "For the program alone: they may say anything.",
        "environ(7), proc_pid_environ(5)",
    ),
    "become-inside": Text(
        "The process becomes root of the user namespace, if that has a root, or else its lowest "
        "id, and drops the groups that it has from outside. Where setgroups is denied, an ordinary "
        "caller stays who it is, if that has a mapping. An id without one would still be what it "
        "is outside: so the launcher has read the maps before, and refuses that.",
        "Last of all, since the steps before need rights that may go with this one.",
        "setgroups(2), setresuid(2), user_namespaces(7)",
    ),
    "drop-from-bounding": Text(
        "No exec of this process, or of one that it starts, can give these capabilities again: not "
        "one by root, nor one of a file that has capabilities. Afterwards the set is read back.",
        "Before the change of user, which may take CAP_SETPCAP away, and within the user namespace "
        "of the program: entering one fills the set.",
        "PR_CAPBSET_DROP(2const), capabilities(7)",
    ),
    "keep-capabilities": Text(
        "Should the process change from root to another user now, its permitted set stays as it "
        "is, since the program is to have some of it. Only the next exec goes by the new user.",
        "Before the change of user, with which root's capabilities would go.",
        "PR_SET_KEEPCAPS(2const), capabilities(7)",
    ),
    "drop-capabilities": Text(
        "The capabilities leave the effective, the permitted and the inheritable set, and with "
        "them the ambient one. With the bounding set these are all. Afterwards all are read back.",
        "After the last change of credentials, which may have needed them.",
        "capset(2), capabilities(7)",
    ),
    "add-capabilities": Text(
        "The capabilities enter the effective, the permitted, the inheritable and the ambient set. "
        "What is ambient outlives an exec also where the program isn't root, unless the file is "
        "set-user-ID or has capabilities. Afterwards all are read back.",
        "After the change of user, which empties the ambient set, and before the exec, after "
        "which a process that isn't root has nothing else.",
        "capset(2), PR_CAP_AMBIENT(2const), capabilities(7)",
    ),
    "no-new-privs": Text(
        "From now on no exec grants new privileges: the set-user-ID and set-group-ID bits and "
        "the capabilities of files don't count. What the process starts inherits that, and nothing "
        "takes it back. Afterwards it is read back.",
        "Before the exec of the program, the first that it is to hold for. It requires no "
        "privilege.",
        "PR_SET_NO_NEW_PRIVS(2const)",
    ),
    "close-descriptors": Text(
        "Each descriptor that is open here, but for the standard streams and those that were "
        "named, is closed by the exec.",
        "While the caller's /proc, which lists them, can be seen; what is opened from now on "
        "is close-on-exec anyway. A directory of the host's that stays open leads to all others, "
        "whatever the root is.",
        "proc_pid_fd(5), ioctl(2), execve(2)",
    ),
    "set-rlimit": Text(
        "No process of the program's can have more of the resource than the soft limit says, nor "
        "raise that above the hard one. What a process starts inherits both. Afterwards they are "
        "read back.",
        "After the last change of credentials, since the set-up needs files, memory and processes "
        "of its own. Lowering a limit requires no right.",
        "prlimit(2), getrlimit(2)",
    ),
    "bound-output": Text(
        "Standard output and standard error are pipes from now on. The relay at their other ends "
        "passes on what comes, until it's too much.",
        "Late, since what goes wrong before is told on the caller's own stderr; and before the "
        "limits of the program, which may leave it no descriptors.",
        "dup2(2), pipe(7)",
    ),
    "leave-session-keyring": Text(
        "The process gets an empty session keyring, for keys (of Kerberos, of encrypted or network "
        "file systems) of its own. Those in the caller's are left behind.",
        "A fork and an exec pass the session keyring on, like the working directory. After the "
        "last change of user, so that the new one belongs to the program's user, whose quota it "
        "counts for.",
        "KEYCTL_JOIN_SESSION_KEYRING(2const), keyrings(7)",
    ),
    "die-with-keeper": Text(
        "When the keeper ends, however that comes, the kernel sends SIGKILL to the init. The "
        "keeper in turn ends all that is left when the launcher has ended.",
        "After the last change of credentials, which would clear it. Then the init looks whether "
        "the launcher still lives, in case it was too late.",
        "PR_SET_PDEATHSIG(2const)",
    ),
    "die-with-parent": Text(
        "When the launcher ends, however that comes, the kernel sends SIGKILL to the init, and "
        "with the init ends all of its PID namespace. So a kill -9 of pyspawn leaves nothing.",
        "After the launcher became the parent, since it's the end of the parent that counts, and "
        "after the last change of credentials, which would clear it. Then the init looks whether "
        "the launcher still lives, in case it was too late.",
        "PR_SET_PDEATHSIG(2const), pid_namespaces(7)",
    ),
    # The program.
    "replace-terminal": Text(
        "The process's descriptors of the caller's terminal become descriptors of the new one, and "
        "that becomes the controlling terminal of the new session: /dev/tty is that one, and what "
        "is typed there as ^C goes to the program.",
        "When only the exec is left, so that what failed before was told at the caller's.",
        "dup2(2), TIOCSCTTY(2const), tty(4)",
    ),
    "replace-screen": Text(
        "The process's descriptors of the caller's terminal become those of the new one, or of "
        "/dev/null where they are for reading: others may read the keyboard. The session gets no "
        "controlling terminal, and there's no /dev/tty.",
        "When only the exec is left, so that what failed before was told at the caller's.",
        "dup2(2), null(4), tty(4)",
    ),
    "take-foreground": Text(
        "The terminal's keys (^C, ^Z) and its input go to the process group of the program.",
        "By the init, for its own group, after all that could fail: the process that starts "
        "pyspawn has the terminal until there's a program.",
        "tcsetpgrp(3), termios(3)",
    ),
    "restore-signals": Text(
        "The signals that the caller ignored are ignored again, all others do what they do by "
        "default, and those that wait are delivered, except the ones that the caller had blocked.",
        "Both survive an exec, and the program is to find what the caller had. All has been "
        "blocked until here: so a signal that came meanwhile has waited, and isn't lost.",
        "sigaction(2), sigprocmask(2), signal(7)",
    ),
    "restrict-by-landlock": Text(
        "A ruleset names the rights that it handles; its rules give some of them back, each for a "
        "file, a directory with all that is below it, or a TCP port. All other uses of those "
        "rights are refused from now on, to this process and to all that it starts (EACCES, EXDEV "
        "for a rename). What is open already stays open. Afterwards something is tried that has "
        "to fail.",
        "After the mounts, so that the paths are those of the container, and as late as can be, "
        "since it holds for us too. It requires no_new_privs, or CAP_SYS_ADMIN in this user "
        "namespace.",
        "landlock(7), landlock_create_ruleset(2), landlock_add_rule(2), landlock_restrict_self(2)",
    ),
    "install-filter": Text(
        "From now on the filter judges each system call of this process and of all that it starts: "
        "what it doesn't allow fails, or ends the caller. Nothing takes it away again. Afterwards "
        "one read(2) looks whether it is in force.",
        "Right before the exec: the steps above make calls that it may refuse. It requires "
        "no_new_privs, or CAP_SYS_ADMIN in this user namespace.",
        "seccomp(2), PR_SET_SECCOMP(2const)",
    ),
    "install-profile": Text(
        "From now on pidone's own profile judges each system call of this process and of all that "
        "it starts. Those that the container engines refuse fail with EPERM, those that are newer "
        "than the profile with ENOSYS, and one of another architecture is fatal; what is for a "
        "capability is allowed where --cap-add names that. Nothing takes it away again. Afterwards "
        "one read(2) looks whether it is in force.",
        "Right before the exec: the steps above make calls that it refuses. It requires "
        "no_new_privs, or CAP_SYS_ADMIN in this user namespace.",
        "seccomp(2), PR_SET_SECCOMP(2const)",
    ),
    "execute": Text(
        "The process becomes the program: same pid, same namespaces, other code. Its descriptors "
        "to the launcher are closed by that, which is how the launcher knows that it worked.",
        "Nothing is left to do. In a PID namespace of its own the program is process 1 now: it "
        "gets no signal that it has no handler for, and has to wait for every orphan. With "
        "--init another process is process 1, and does all that.",
        "execve(2), pid_namespaces(7)",
    ),
    "execute-init": Text(
        "The process becomes the init that was named, which starts the program as its child.",
        "Nothing is left to do. Its descriptors to the launcher are closed by this, which is how "
        "the launcher knows that it worked.",
        "execve(2), pid_namespaces(7)",
    ),
    "execute-pyinit": Text(
        "The process becomes pyinit, the container's PID 1, and that starts the program as its "
        "child. It forwards signals, waits for orphans, and ends as the program did.",
        "Nothing is left to do. All signals are still blocked, since a PID 1 gets none that it has "
        "no handler for: a blocked one waits until pyinit asks for it. Which ones the caller had "
        "blocked and ignored goes along in words, for the program to have again.",
        "execve(2), pid_namespaces(7), signal(7)",
    ),
}


class Act(NamedTuple):
    """An act of a process between the steps, with a topic in TEXTS."""

    where: str
    what: str
    how: str
    topic: str


BECOME_SUBREAPER = Act(
    LAUNCHER, "become a subreaper", "prctl(PR_SET_CHILD_SUBREAPER, 1)", "become-subreaper"
)
BECOME_KEEPERS_SUBREAPER = BECOME_SUBREAPER._replace(topic="become-keepers-subreaper")
FORK_ASIDE = Act(LAUNCHER, "fork for the network", "fork()", "fork-aside")
FORK_FOR_OUTPUT = Act(LAUNCHER, "fork for the output", "fork()", "fork-for-output")
FORKS = {"network": FORK_ASIDE, "output": FORK_FOR_OUTPUT}
FORK_RELAY = Act(LAUNCHER, "fork the relay of the terminal", "fork()", "fork-relay")
OPEN_PTY = Act(LAUNCHER, "open a pseudo-terminal", "openpty()", "open-pty")
FORK_STAGE = Act(LAUNCHER, "fork the stage", "fork()", "fork-stage")
FORK_KEEPER = FORK_STAGE._replace(topic="fork-keeper")
MAKE_STAGE_GROUP = Act(STAGE, "make a process group", "setpgid(0, 0)", "make-stage-group")
KEEP = Act(STAGE, "become a subreaper", "prctl(PR_SET_CHILD_SUBREAPER, 1)", "keep")
FORK_WITNESS = Act(LAUNCHER, "fork the witness of terminal stops", "fork()", "fork-witness")
FORK_AMONG_OTHERS = Act(LAUNCHER, "fork the init", "fork()", "fork-among-others")
FORK_SCOUT = Act(LAUNCHER, "fork a scout", "fork()", "fork-scout")
FORK_INIT = Act(LAUNCHER, "fork the init", "fork()", "fork-init")
OPEN_TARGET = Act(LAUNCHER, "open what is a process's", "openat()", "open-target")
OPEN_SOURCE = Act(LAUNCHER, "open what is to be bound", "open()", "open-source")
MAKE_GROUP = Act(LAUNCHER, "make a control group", "mkdir()", "make-cgroup")
OPEN_FILE = Act(SCOUT, "open a namespace", "openat()", "open-file")
OPEN_PIDFD = Act(LAUNCHER, "open a pidfd", "pidfd_open(INIT, 0)", "open-pidfd")


_ALL = """\
A container is a process that sees less. There is no call that makes one: a process asks the \
kernel for namespaces, new ones or some that exist, one kind at a time, sets up what is to be seen \
there, and becomes the program by exec. What follows is all that pyspawn asks for, in order."""

_TWO = """\
Two processes take part. The launcher is pyspawn itself: it stays outside, forwards signals, and \
waits for the end. The init starts as its fork, and becomes the container's first process."""

_THREE = """\
Three processes take part. The launcher is pyspawn itself: it stays outside, forwards signals, and \
waits for the end. The stage goes ahead into namespaces that no process comes back from. The init \
is forked by the stage, and becomes the container's first process. STAGE and INIT stand for their \
pids."""

_JOINING = """\
Three processes take part. The launcher is pyspawn itself: it stays outside, forwards signals, and \
waits for the end. The stage goes ahead into namespaces that no process comes back from, and stays \
as the keeper of what the program leaves. The init is forked by the stage, and becomes the \
program. STAGE and INIT stand for their pids."""

_BEFORE = """\
All signals are blocked already, so none is lost, and pipes connect the processes: one tells the \
launcher what fails, and is closed by the exec; the other makes them wait for each other, and its \
end tells that the launcher is gone."""


def introduction(spec: Spec) -> str:
    """Return the paragraphs before the first step."""
    processes = _THREE if is_staged(spec) else _TWO
    joins = spec.wish(Joins)
    if joins is not None and joins.target is not None:
        processes = _JOINING
    paragraphs = (_ALL, processes, _BEFORE)
    return "".join(f"{_fill(each)}\n\n" for each in paragraphs)


def _fill(text: str, indent: str = "") -> str:
    return textwrap.fill(
        text, _WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )


def tell(act: Act | Step, process: str | None = None) -> str:
    """Return the explanation of a step or an act."""
    if isinstance(act, Act):
        where, what, how, topic = act
    else:
        where, what, how, topic = act.where, act.describe(), act.call(), act.topic
    if process is not None:
        how = how.replace("STAGE", process, 1)
    text = TEXTS[topic]
    words = (text.does, f"Why now: {text.now}", f"See {text.pages}.")
    lines = (_fill(each, "  ") for each in words)
    return "\n".join((f"{where}: {what}", f"    {how}", *lines, "", ""))


def script(spec: Spec, planned: Steps, parts: Sequence[Part] = ()) -> Iterator[Act | Step]:
    """Yield all acts and steps of a plan, in order."""
    forker = LAUNCHER
    for part in parts:
        yield from map(act_of, part.looks)
    yield from (FORKS[part.forks] for part in parts if part.forks)
    if is_staged(spec):
        forker = STAGE
        alone = "pid" in spec.namespaces.wanted
        yield BECOME_SUBREAPER if alone else BECOME_KEEPERS_SUBREAPER
        yield FORK_STAGE if alone else FORK_KEEPER
        yield MAKE_STAGE_GROUP
    forked = False
    for step in planned:
        if step.where == INIT and not forked:
            forked = True
            if "pid" in spec.namespaces.wanted:
                yield FORK_INIT._replace(where=forker)
            else:
                yield KEEP
                yield FORK_AMONG_OTHERS._replace(where=forker)
            yield OPEN_PIDFD
        yield step


def act_of(look: Look) -> Act:
    """Return the act that stands for a look at a target."""
    where, what, how = look
    for act in (OPEN_PTY, FORK_RELAY):
        if what == act.what:
            return act
    if where == LAUNCHER and how.startswith("fork"):
        return FORK_SCOUT
    if what == OPEN_SOURCE.what:
        return OPEN_SOURCE._replace(how=how)
    if what == MAKE_GROUP.what:
        return MAKE_GROUP._replace(how=how)
    return (OPEN_TARGET if where == LAUNCHER else OPEN_FILE)._replace(what=what, how=how)


def page(spec: Spec, planned: Steps, parts: Sequence[Part] = ()) -> str:
    """Return the whole explanation of a plan."""
    told = "".join(tell(act) for act in script(spec, planned, parts))
    return introduction(spec) + told
