"""Say why the kernel refused, from the machine's own state, and what to do about it.

An errno names a kind of refusal, not its cause: EPERM for a new user namespace may come from a
chroot, a sysctl, AppArmor, a seccomp filter or an id without a mapping. What each cause leaves
visible is looked up here, only after a failure.

`_RULES` lists the causes by the errnos that they give, in the order in which they are asked: those
that can be sure come first, those that judge by what else is in force come last. Each answers with
one sentence, the cause and what to do, or with None.
"""

from __future__ import annotations

import errno

from spawner.errors import INIT, mark
from spawner.spec import KINDS
from spawner.why.evidence import MAKERS, NET_ADMIN, SETFCAP, SYS_ADMIN, Case, Machine, number, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from spawner.errors import SetupError
    from spawner.spec import Spec
    from spawner.why.evidence import Mount

_OURS = 2
"""Processes of ours that have ended between the failure and the look at a limit: stage, init."""

_ALWAYS_EMPTY = ("sys/fs/binfmt_misc", "fs/nfsd", "openprom")
"""Directories of /proc on which a mount masks nothing (fs/namespace.c, mnt_already_visible)."""

_LINKS = 40
"""Symbolic links that one path may lead through (linux/namei.h, MAXSYMLINKS)."""

_FORMAT, _DIRECTORY, _LINK = 0o170000, 0o040000, 0o120000
"""The file type in a mode, inode(7)."""


def explain(error: SetupError, spec: Spec | None, machine: Machine | None = None) -> str | None:
    """Return one sentence that says why `error` happened and what to do, None where unknown.

    `spec` is what was asked for, as far as that is known. Never raises.
    """
    machine = machine or Machine()
    if spec is not None and spec.joins is not None:
        from spawner.why import joins as joinprobe

        found = joinprobe.explain(error, spec.joins, machine)
        if found or error.hint or error.stage == INIT:  # whose paths are others' by now
            return found
    case = Case(error, spec, machine)
    for errnos, rule in _RULES:
        if case.errno in errnos:
            found = rule(case)
            if found:
                return found
    return None


# Limits.


def _no_descriptor(case: Case) -> str:
    # Without a free descriptor the limit can't be read either: it's named where it can.
    limit = case.limit("Max open files")
    known = f" ({limit})" if limit is not None else ""
    return (
        f"pyspawn has no file descriptor left below its limit{known}: raise it with `ulimit -n`, "
        "or let pyspawn inherit fewer open files"
    )


def _too_long(case: Case) -> str | None:
    if case.syscall != "execve":
        return None
    # execve(2): a quarter of the stack's limit, up to 6 MiB.
    return (
        "the program's arguments and environment are too long, together with the init's own: pass "
        "what is long through a file, or raise the limit, a quarter of that of the stack: "
        "`ulimit -s 24576`"
    )


def _no_file(case: Case) -> str:
    limit = case.sysctl("fs/file-max")
    known = f" (fs.file-max is {limit})" if limit is not None else ""
    return (
        f"the whole machine has run out of open files{known}: end the programs that hold them, or "
        "raise it as root, `sysctl -w fs.file-max=NUMBER`"
    )


def _no_process(case: Case) -> str | None:
    if case.syscall not in MAKERS:
        return None
    for directory, limit in _full_groups(case):
        return (
            f"pids.max of {shown(directory)} is {limit}, and reached: raise it (a container's "
            "--pids-limit, a unit's TasksMax=), or see with `pyspawn zombies` who doesn't reap"
        )
    mine = case.limit("Max processes")
    if case.uid and mine is not None and case.tasks_of(case.uid) + _OURS >= mine:
        return (
            f"user id {case.uid} may have {mine} processes and threads, and has them: end some, "
            "or raise the limit with `ulimit -u`"
        )
    tasks = case.tasks()
    for name in ("kernel.pid_max", "kernel.threads-max"):
        most = case.sysctl(name.replace(".", "/"))
        if tasks is not None and most is not None and tasks + _OURS >= most:
            return (
                f"{name} is {most}, and reached: end some processes, or raise it as root, "
                f"`sysctl -w {name}={2 * most}`"
            )
    return (
        "a limit on processes is reached: see `ulimit -u`, and pids.max of the control group and "
        "of those above it (a container's --pids-limit, a unit's TasksMax=)"
    )


def _full_groups(case: Case) -> Iterator[tuple[str, int]]:
    """Yield directory and pids.max of each of our control groups that is full, cgroups(7)."""
    lines = (case.machine.read("/proc/self/cgroup") or "").splitlines()
    for mount in case.mounts():
        for line in lines:
            controllers, _, path = line.partition(":")[2].partition(":")
            if mount.kind == "cgroup2":
                ours = not controllers
            else:
                ours = mount.kind == "cgroup" and "pids" in controllers.split(",")
                ours = ours and "pids" in mount.superblock
            if not ours:
                continue
            # What is mounted may itself be a group further down.
            inside = path.removeprefix(mount.root).strip("/")
            directory = (mount.below + inside).rstrip("/")
            while f"{directory}/".startswith(mount.below):
                most = number(case.machine.read(f"{directory}/pids.max"))
                now = number(case.machine.read(f"{directory}/pids.current"))
                if most is not None and now is not None and now + _OURS >= most:
                    yield directory, most
                directory = directory.rpartition("/")[0]


def _no_namespace(case: Case) -> str | None:
    """Explain ENOSPC: a number in /proc/sys/user, or the greatest depth, namespaces(7)."""
    if case.syscall not in MAKERS:
        return None
    names = {kind: f"user.max_{KINDS[kind].file}_namespaces" for kind in case.kinds}
    for kind, name in names.items():
        if case.sysctl(name.replace(".", "/")) == 0:
            return f"{name} is 0, which forbids them: {_raise(kind, name)}"
    return (
        f"{' or '.join(names.values())} is used up, here or in an outer user namespace, where root "
        "can raise it by `sysctl -w`; or user or PID namespaces can't nest any deeper: start "
        "pyspawn less deeply nested"
    )


def _raise(kind: str, name: str) -> str:
    way = f"raise it as root of this user namespace, `sysctl -w {name}=10000`"
    return way if kind == "user" else f"{way}, or do without, `{mark(f'--share {kind}')}`"


def _no_key(case: Case) -> str | None:
    if case.syscall != "keyctl":
        return None
    limit = case.sysctl("kernel/keys/maxkeys")
    known = f", {limit}" if limit is not None else ""
    return (
        "each container has a session keyring, and its user has as many keys as one may have"
        f"{known}: run fewer at once, or raise it as root, `sysctl -w kernel.keys.maxkeys=20000 "
        "kernel.keys.maxbytes=2000000`"
    )


def _no_number(case: Case) -> str | None:
    if case.syscall != "keyctl":
        return None
    return (
        "pyspawn doesn't know the number of keyctl(2) on this kind of machine (see `uname -m`), "
        "and without it the program would have your keys, keyrings(7): it has to be added to "
        "spawner/linux.py"
    )


# What is missing.


def _no_proc(case: Case) -> str | None:
    if not case.path.startswith("/proc"):
        return None
    own = case.machine.link("/proc/self")
    if own is None:
        missing = case.machine.stat("/proc") == errno.ENOENT
        first = "there is no directory /proc here" if missing else "/proc isn't mounted here"
        return (
            f"{first}, and pyspawn needs it: {'`mkdir /proc` and ' if missing else ''}"
            "`mount -t proc proc /proc` as root"
        )
    if own != str(case.machine.pid()):
        return (
            "/proc shows another PID namespace than the one that pyspawn runs in: mount its own "
            "first, `mount -t proc proc /proc` (unshare has --mount-proc for that)"
        )
    return None


def _born_elsewhere(case: Case) -> str | None:
    """Find a PID namespace for children that whoever started us unshared without a fork."""
    own = case.machine.link("/proc/self/ns/pid")
    for_children = case.machine.link("/proc/self/ns/pid_for_children")
    # Once pyspawn itself has unshared there is one of its own, which has no link before its first
    # process: so only what shows that something was there before counts.
    before = case.making("pid") if case.syscall == "unshare" else for_children is not None
    if own is None or own == for_children or not before:
        return None
    if case.syscall not in ("unshare", "fork", "waitpid"):
        return None
    return (
        "pyspawn was started halfway into another PID namespace, which holds for its children "
        "only, as by `unshare --pid` without --fork: add --fork there"
    )


def _no_kind(case: Case) -> str | None:
    if isinstance(case.machine.stat("/proc/self/ns"), int):
        return None
    for kind in case.kinds:
        file = f"/proc/self/ns/{KINDS[kind].file}"
        if case.making(kind) and case.machine.stat(file) == errno.ENOENT:
            return (
                f"{case.release} has no {kind} namespaces (no {file}): do without, "
                f"`{mark(f'--share {kind}')}`, or boot a kernel that has them"
            )
    return None


def _no_call(case: Case) -> str | None:
    if case.filtered or not case.syscall:
        return None
    return f"{case.release} has no system call {case.syscall}: pyspawn needs a newer kernel"


# User namespaces, and rights without one.


def _no_mapping(case: Case) -> str | None:
    if not case.making("user"):
        return None
    for name, field in (("uid", "Uid"), ("gid", "Gid")):
        own = number(" ".join(case.status(field)[1:]))
        extents = case.machine.read(f"/proc/self/{name}_map")
        if own is not None and extents is not None and not _mapped(own, extents):
            return (
                f"{name} {own} has no mapping in the user namespace that pyspawn runs in, and "
                f"without one nobody can make another: have its {name}_map written first (unshare "
                "has --map-root-user for that)"
            )
    return None


def _mapped(own: int, extents: str) -> bool:
    """Say whether an id is in one of the extents of a uid_map, user_namespaces(7)."""
    for line in extents.splitlines():
        first, _, count = [number(word) for word in [*line.split(), "", "", ""][:3]]
        if first is None or count is None or first <= own < first + count:
            return True  # or unreadable: then nothing is known
    return False


def _chroot(case: Case) -> str | None:
    if not case.making("user") or not _lacks_root_mount(case):
        return None
    return f"in a chroot nobody can make a user namespace, user_namespaces(7): {_leave(case)}"


def _lacks_root_mount(case: Case) -> bool:
    """Say whether the root directory isn't a mount point, as after a chroot(2)."""
    mounts = case.mounts()
    return bool(mounts) and all(mount.point != "/" for mount in mounts)


def _leave(case: Case) -> str:
    outside = "start pyspawn outside of it"
    if case.lacks(SYS_ADMIN):
        return f"{outside}, or enter it with pivot_root(2) in place of chroot(2)"
    return f"leave out {mark('--user')}, or {outside}"


def _only_root(case: Case) -> str | None:
    if not case.making("user") or not case.lacks(SYS_ADMIN):
        return None
    if case.sysctl("kernel/unprivileged_userns_clone") != 0:
        return None
    return (
        "kernel.unprivileged_userns_clone is 0, which leaves user namespaces to root: allow them "
        "as root, `sysctl -w kernel.unprivileged_userns_clone=1`"
    )


def _is_map(case: Case) -> bool:
    """Say whether it is about a file that sets the ids of a user namespace."""
    return case.path.endswith(("/uid_map", "/gid_map", "/setgroups"))


def _read_only_proc(case: Case) -> str | None:
    if not case.path.startswith("/proc"):
        return None
    return (
        "/proc is mounted read-only, and pyspawn sets up new namespaces by files in it: "
        "`mount -o remount,bind,rw /proc` as root"
    )


def _no_setfcap(case: Case) -> str | None:
    if not _is_map(case) or case.uid != 0 or not case.lacks(SETFCAP):
        return None
    return (
        "since Linux 5.12 root needs CAP_SETFCAP to map user id 0, user_namespaces(7): give it "
        f"that (docker run --cap-add SETFCAP), or leave out {mark('--user')}"
    )


_RIGHTLESS = ("keyctl", "pidfd_open", "prctl", "rt_sigaction", "signalfd")
"""Calls of a start that take no right: only a filter refuses them."""


def _no_right(case: Case) -> str | None:
    if "user" in case.wanted or case.syscall in _RIGHTLESS:
        return None
    needed = NET_ADMIN if case.syscall == "ioctl" else SYS_ADMIN
    if not case.lacks(needed):
        return None
    if case.uid != 0:
        return (
            f"without a new user namespace this takes {needed}, root's: leave out "
            f"{mark('--share user')}, or add {mark('--user')} to {mark('--share all')}"
        )
    # A container's filter that refuses the one mostly refuses the other as well.
    other = "" if case.filtered else f", or add {mark('--user')}, which gives it inside"
    return (
        f"root has no {needed} here, as in most containers: give it that (docker run "
        f"--cap-add {needed.removeprefix('CAP_')}){other}"
    )


# Mounts.


def _fresh_proc(case: Case) -> str | None:
    """Explain why one who is root only in a user namespace may not mount a /proc.

    There has to be an unmasked one in sight, so that the mount reveals nothing (fs/namespace.c,
    mount_too_revealing).
    """
    if case.syscall != "mount" or (case.path != "/proc" and not _is_proc(case)):
        return None
    if "user" in case.wanted and "pid" not in case.wanted:
        return (
            "a new user namespace has no right to the PID namespace around it, and a /proc would "
            f"show that: make a new one, {mark('--pid')}, or leave out {mark('--mount-proc')}"
        )
    if "user" not in case.wanted and case.filtered:
        return None
    mounts = case.mounts()
    procs = [mount for mount in mounts if mount.kind == "proc" and mount.root == "/"]
    if not procs:
        return (
            "a user namespace can mount /proc only where a whole one is visible already: "
            "`mount -t proc proc /proc` as root, before pyspawn"
        )
    masks = [_masks(proc, mounts) for proc in procs]
    if all(masks):
        some = ", ".join(map(shown, masks[0][:3])) + (", …" if masks[0][3:] else "")
        return (
            f"parts of /proc are masked ({some}), and then a user namespace can't mount a "
            "whole one: start the container with --security-opt systempaths=unconfined (docker), "
            "--security-opt unmask=ALL (podman) or procMount: Unmasked (Kubernetes)"
        )
    if all("ro" in proc.options for proc in procs):
        return _read_only_proc(case)
    return None


def _masks(proc: Mount, mounts: list[Mount]) -> list[str]:
    """Return the mount points below a /proc that hide or lock a part of it."""
    harmless = [proc.below + place for place in _ALWAYS_EMPTY]
    found = [mount.point for mount in mounts if mount.point.startswith(proc.below)]
    return [point for point in found if point not in harmless]


def _plain_root(case: Case) -> str | None:
    if case.syscall != "mount" or case.path != "/" or not _lacks_root_mount(case):
        return None
    return (
        "the root directory is not a mount point, as after a chroot, so nothing can be mounted "
        f"in private: `mount --bind DIR DIR` before `chroot DIR`, or `{mark('--share mount')}`"
    )


# Clocks, names, paths.


def _clock(case: Case) -> str | None:
    """Explain ERANGE: a clock would be below zero or above 146 years, time_namespaces(7)."""
    if not case.path.endswith("/timens_offsets"):
        return None
    return (
        "no clock can go below zero, nor beyond 146 years: take an offset nearer to 0 (`uptime` "
        "shows for how long the machine is up)"
    )


def _long_name(case: Case) -> str | None:
    if case.syscall != "sethostname":
        return None
    return "a host name has 64 bytes at most, sethostname(2): take a shorter one"


def _way(case: Case) -> str | None:
    """Say which part of a path can't be passed, path_resolution(7)."""
    if case.syscall not in ("chdir", "openat", "execve") or case.path.startswith("/proc/"):
        return None
    if case.errno not in (errno.EACCES, errno.ELOOP, errno.ENOENT, errno.ENOTDIR):
        return None  # of a file system that has failed, which may not answer the next time
    opened = case.syscall == "openat" and not _is_proc(case)
    if opened and case.spec is None:  # what is to be let go of: `release` says where to look
        return None
    found = _obstacle(case) if case.path else None
    if found is None:
        return None
    reason, place = found
    if reason == errno.ENOENT and (word := _word(case)):
        return word
    other = _other(case)
    if reason == errno.ENOENT:
        return f"{shown(place)} does not exist: {'' if opened else 'make it, or '}{other}"
    if reason == errno.ENOTDIR:
        return f"{shown(place)} is not a directory: {other}"
    if reason == errno.ELOOP:
        return f"{shown(place)} leads in a circle of symbolic links: mend it, or {other}"
    return f"{_closed(case, place)}, or {other}"


def _word(case: Case) -> str | None:
    """Return what to do about a word that is no path: of an init in PATH, of a process."""
    if case.spec is None:
        return None
    init, joins = case.spec.init, case.spec.joins
    if case.syscall == "execve" and init and "/" not in init:
        return f"{shown(init)} is in no directory of PATH: install it, or name it by its path"
    for kind, path in () if joins is None else joins.files:
        if case.syscall == "openat" and path == case.path:
            return _in_other_words(kind, path)
    return None


def _in_other_words(kind: str, path: str) -> str | None:
    """Return what to name in place of what isn't there, where it's in other tools' words."""
    from spawner.net import network

    name, _, more = path.partition(":")
    if kind == "user" and "/" not in path and not more:
        return (
            f"for who PROGRAM is: {mark(f'--setuid {path}')}; for a user namespace: "
            f"{mark('--user=/proc/PID/ns/user')}"
        )
    if kind == "net" and name in network.KINDS:
        return f"a kind of network is named by {mark(f'--network {path}')}"
    if not path.isdigit() and not (name == "container" and more):
        return None
    file = KINDS[kind].file
    if path.isdigit():
        return f"for that of process {path}: {mark(f'--{kind}=/proc/{path}/ns/{file}')}"
    pid = f"$(podman inspect -f '{{{{.State.Pid}}}}' {shown(more)})"
    return f"for that of a container: {mark(f'--{kind}=/proc/{pid}/ns/{file}')}"


def _other(case: Case) -> str:
    """Return what could be named in place of the path that failed."""
    if case.syscall == "chdir":
        return f"name another directory with {mark('--workdir')}"
    if _is_proc(case):
        return f"name another directory with {mark('--mount-proc')}"
    if case.syscall == "openat":
        return "name another path"
    if case.spec is None or case.spec.init == "":
        return "run pyspawn by another Python, such as /usr/bin/python3"
    if case.spec.init is None:
        return "run another program"
    return f"name another init, {mark('--init=PATH')}"


def _is_proc(case: Case) -> bool:
    """Say whether it is about the directory that --mount-proc names."""
    return case.spec is not None and case.path == case.spec.mount_proc


def _obstacle(case: Case) -> tuple[int, str] | None:
    """Return the errno that the path of `case` meets and the part that gives it, None for none."""
    place = "/" if case.path.startswith("/") else "."
    rest = case.path.split("/")
    links = 0
    while rest:
        word = rest.pop(0)
        if word in ("", "."):
            continue
        if _refusing(case, place):
            return errno.EACCES, place
        here, place = place, f"{place.rstrip('/')}/{word}"
        found = case.machine.stat(place)
        if isinstance(found, int):
            return found, place
        if found.st_mode & _FORMAT == _LINK:
            links += 1
            if links > _LINKS:
                return errno.ELOOP, case.path
            target = case.machine.link(place) or ""
            place = "/" if target.startswith("/") else here
            rest = target.split("/") + rest
        elif found.st_mode & _FORMAT != _DIRECTORY and (
            any(rest) or case.syscall == "chdir" or _is_proc(case)
        ):
            return errno.ENOTDIR, place
    if _refusing(case, place) or _noexec(case, place):
        return errno.EACCES, place
    return None


def _refusing(case: Case, place: str) -> str | None:
    """Return the class, "u", "g" or "o", whose missing x bit keeps us out; None for none.

    Capabilities are left aside: they don't reach files of users without a mapping,
    capabilities(7), and the kernel has refused.
    """
    found = case.machine.stat(place)
    if case.errno != errno.EACCES or isinstance(found, int) or case.uid is None:
        return None
    letter, bit = "o", 0o001
    if found.st_uid == case.uid:
        letter, bit = "u", 0o100
    elif str(found.st_gid) in [*case.status("Gid")[1:2], *case.status("Groups")]:
        letter, bit = "g", 0o010
    return None if found.st_mode & bit else letter


def _noexec(case: Case, place: str) -> bool:
    """Say whether a program lies on a file system mounted noexec, mount(8)."""
    above = [mount for mount in case.mounts() if place.startswith(mount.below)]
    if case.errno != errno.EACCES or case.syscall != "execve" or not above:
        return False
    return "noexec" in max(above, key=lambda mount: len(mount.point)).options


def _closed(case: Case, place: str) -> str:
    """Return why `place` can't be entered or executed, and how it could be."""
    name = shown(place)
    found = case.machine.stat(place)
    if isinstance(found, int):
        return f"user id {case.uid} can't see {name}: open the directories above it"
    letter = _refusing(case, place)
    if letter is None:
        return f"{name} lies on a file system mounted noexec: `mount -o remount,exec` it"
    verb = "enter" if found.st_mode & _FORMAT == _DIRECTORY else "execute"
    mode = f"mode {found.st_mode & 0o7777:04o}, owner {found.st_uid}"
    return f"user id {case.uid} can't {verb} {name} ({mode}): `chmod {letter}+x {name}`"


# What judges by what else is in force.


def _policed(case: Case) -> bool:
    """Say whether a security policy may be to blame: not for paths, whose own rules are asked."""
    return bool(case.syscall) and case.syscall not in ("chdir", "execve")


def _apparmor_userns(case: Case) -> str | None:
    """Find Ubuntu's rule: such a namespace is refused, or made without any right inside."""
    if not _policed(case) or "user" not in case.wanted or not case.lacks(SYS_ADMIN):
        return None
    if case.sysctl("kernel/apparmor_restrict_unprivileged_userns") != 1:
        return None
    if case.profile not in (None, "unconfined"):
        return None
    program = shown(case.machine.link("/proc/self/exe") or "the Python that runs pyspawn")
    return (
        "kernel.apparmor_restrict_unprivileged_userns is 1, which leaves user namespaces to "
        f"programs whose AppArmor profile has `userns,`: give {program} one, or as root "
        "`sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`"
    )


def _apparmor(case: Case) -> str | None:
    profile = case.profile
    if not _policed(case) or profile in (None, "unconfined") or profile.endswith("(complain)"):
        return None
    if case.errno == errno.EPERM and case.filtered:
        return None  # AppArmor mostly says EACCES, a filter mostly EPERM
    return (
        f"the AppArmor profile {shown(profile)} is in force, and most likely refuses "
        f"{case.syscall}: start the container with --security-opt apparmor=unconfined, or allow "
        "it in the profile (`dmesg` tells what was denied)"
    )


def _selinux(case: Case) -> str | None:
    if not _policed(case) or number(case.machine.read("/sys/fs/selinux/enforce")) != 1:
        return None
    context = (case.machine.read("/proc/self/attr/current") or "").strip("\n\0")
    return (
        f"SELinux is enforcing ({shown(context)}), and most likely refuses {case.syscall}: start "
        "the container with --security-opt label=disable, or allow what `ausearch -m avc` shows"
    )


def _seccomp(case: Case) -> str | None:
    if not case.filtered or not case.syscall:
        return None
    sealed = case.status("NoNewPrivs") == ["1"]
    return (
        "a seccomp filter is in force (Seccomp: 2 in /proc/self/status), and most likely refuses "
        f"{case.syscall}: lift it where pyspawn is started (docker or podman run --security-opt "
        "seccomp=unconfined, a unit's RestrictNamespaces=no)"
        + ("; no_new_privs is set too, so sudo doesn't help" if sealed else "")
    )


def _perhaps_chroot(case: Case) -> str | None:
    """Say what is left when nothing else refuses: a chroot is hidden from most who are in one."""
    if not case.making("user"):
        return None
    return (
        "nothing that shows here forbids a user namespace, so this is most likely a chroot, in "
        f"which nobody can make one, user_namespaces(7): {_leave(case)}"
    )


_DENIED = (errno.EPERM, errno.EACCES)

_RULES: tuple[tuple[tuple[int, ...], Callable[[Case], str | None]], ...] = (
    ((errno.EMFILE,), _no_descriptor),
    ((errno.ENFILE,), _no_file),
    ((errno.E2BIG,), _too_long),
    ((errno.ENOENT, errno.ESRCH, *_DENIED), _no_proc),
    ((errno.EINVAL, errno.ENOMEM, errno.ECHILD), _born_elsewhere),
    ((errno.EAGAIN,), _no_process),
    ((errno.ENOSPC,), _no_namespace),
    ((errno.EINVAL,), _no_kind),
    ((errno.EPERM,), _no_mapping),
    ((errno.EPERM,), _chroot),
    ((errno.EPERM,), _only_root),
    ((errno.EROFS,), _read_only_proc),
    ((errno.EPERM,), _no_setfcap),
    ((errno.EPERM,), _no_right),
    ((errno.EPERM,), _fresh_proc),
    ((errno.EINVAL,), _plain_root),
    ((errno.EDQUOT,), _no_key),
    ((errno.ENOTSUP,), _no_number),
    ((errno.ERANGE,), _clock),
    ((errno.EINVAL,), _long_name),
    ((errno.EACCES, errno.ENOENT, errno.ENOTDIR, errno.ELOOP), _way),
    ((errno.ENOSYS,), _no_call),
    (_DENIED, _apparmor_userns),
    (_DENIED, _apparmor),
    ((errno.EACCES,), _selinux),
    ((errno.EPERM, errno.ENOSYS, errno.EAFNOSUPPORT), _seccomp),
    ((errno.EPERM,), _perhaps_chroot),
)
