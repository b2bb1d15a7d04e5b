"""The options of `pyspawn run`: one table, and the specification that they add up to."""

import posix

from pyinit import cmdline
from pyinit.cmdline import Option
from spawner.spec import KINDS, STOP_TIMEOUT, Choice, Spec, kind_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from spawner.ids.idmap import Extent
    from spawner.ids.names import User
    from spawner.limit.limits import Rlimit
    from spawner.mount.entry import Entry
    from spawner.mount.mounts import Bind, Overlay, Tmpfs
    from spawner.rights.landlock import Landlock
    from spawner.spec import Wish

USAGE = """\
Usage: pyspawn [run] [OPTIONS] [--] [PROGRAM [ARG...]]
       pyspawn exec TARGET [OPTIONS] [--] [PROGRAM [ARG...]]
       pyspawn release DIR
       pyspawn zombies [OPTIONS] [PID...]
       pyspawn signals [OPTIONS] PID [SIGNAL...]

Run PROGRAM, or your shell ($SHELL), in namespaces of its own: processes, mounts with a /proc of its
own, IPC, host name and control groups are new, and so are users (you are root in the container)
where you aren't root. With --init, pyinit is PID 1 in the container: it forwards signals and reaps
orphans. Nothing outlives pyspawn."""

HELP = "pyspawn --help"
"""The command that shows the help."""

FOOTER = """\
LIST is one or more of user, pid, mount (or mnt), uts, ipc, net, cgroup, time, separated by commas,
or all; upper or lower case. --unshare adds to the namespaces above and --share takes away from
them; their order doesn't matter, and a namespace named by itself beats all.

Exit status: PROGRAM's own; 128+N if signal N killed it; 127 if it wasn't found; 126 if it couldn't
be executed; 125 if pyspawn itself could not do its work. pyspawn forwards every signal that it
gets."""


def _names(word: str) -> list[str]:
    """Return the kinds in a list with commas."""
    return list(map(kind_of, _listed(word)))


def _listed(word: str) -> list[str]:
    """Return the names in a list with commas; raises ValueError for an empty one."""
    names = word.split(",")
    if not all(names):
        raise ValueError(f"a name is missing in {word!r}")
    return names


def _user(word: str) -> "User":
    from spawner.ids import names

    return names.user(word)


def _group(word: str) -> int:
    from spawner.ids import names

    return names.group(word)


def _groups(word: str) -> tuple[int, ...]:
    from spawner.ids import names

    return names.groups(word)


def _extent(word: str) -> "Extent | str":
    from spawner.ids import idmap

    return idmap.extent_or_auto(word)


def _allow_or_deny(word: str) -> str:
    if word not in ("allow", "deny"):
        raise ValueError(f"{word!r} is neither allow nor deny")
    return word


def _rlimit(word: str) -> "Rlimit":
    from spawner.limit import limits

    return limits.rlimit(word)


def _memory(word: str) -> int:
    from spawner.limit import limits

    return limits.memory(word)


def _processors(word: str) -> float:
    from spawner.limit import limits

    return limits.processors(word)


def _capabilities(word: str) -> frozenset[str]:
    """Return the capabilities in a list with commas."""
    from spawner.rights import rights

    return rights.names(_listed(word))


def _filter(word: str) -> str | int:
    from spawner.rights import rights

    return rights.source(word)


def _landlock(word: str) -> "Landlock":
    from spawner.rights import landlock

    return landlock.landlock(word)


def _whole(word: str) -> int:
    """Return a whole number, which may be negative."""
    digits = word[1:] if word[:1] in ("-", "+") else word
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 18:
        raise ValueError(f"{word!r} is not a whole number")
    return int(word)


def _descriptors(word: str) -> tuple[int, ...]:
    from spawner.descriptors import passing

    return passing.numbers(word)


def _json(word: str) -> str:
    if word != "json":
        raise ValueError(f"{word!r} is not json, the only other form")
    return word


def _whole_seconds(word: str) -> int:
    """Return a number of seconds, which may be negative."""
    try:
        return _whole(word)
    except ValueError as error:
        raise ValueError(f"{error} of seconds") from None


def _time_out(word: str) -> float | None:
    """Return a time-out in seconds, None for `infinity`."""
    return None if word in ("infinity", "infinite") else cmdline.seconds(word)


def _signal(word: str) -> int:
    from pyinit import signames

    return signames.number(word)


def _variable(word: str) -> tuple[str, str]:
    """Return (name, value) of `NAME=VALUE`."""
    name, equals, value = word.partition("=")
    if not equals or not name:
        raise ValueError(f"{word!r} is not NAME=VALUE")
    return name, value


def _file(word: str) -> str:
    """Return the path of a namespace file; raises ValueError for an empty path."""
    if not word:
        raise ValueError("the path of the namespace is empty")
    return word


def _flag(name: str) -> Option:
    kind = KINDS[name]
    return Option(name, kind.short, metavar="FILE", optional=True, convert=_file, help=kind.help)


_NETWORKS = ("none", "loopback", "slirp4netns", "pasta")
"""Kinds of networks that --net=KIND accepts too, as in docker(1)."""

FLAGS = tuple(
    # In the order of unshare(1); what it doesn't know comes last.
    _flag(name)
    for name in sorted(KINDS, key=lambda name: "muinpUCT".find(KINDS[name].short) % 9)
)
"""The options that stand for kinds of namespaces, spelled as in unshare(1)."""

NETWORK = (
    Option(
        "network",
        metavar="KIND",
        help="Give the container a network of this kind: host, none, loopback, slirp4netns, pasta, "
        "or veth:BRIDGE[,address=ADDRESS/LENGTH[,gateway=ADDRESS]].",
    ),
    Option(
        "publish",
        metavar="[ADDRESS:]PORT[:PORT][/udp]",
        many=True,
        help="Forward the first PORT, on this host, to the last one, in the container. Repeatable.",
    ),
)
"""The options for networks."""

IDS = (
    Option(
        "map-root-user",
        "r",
        help="Be root in a new user namespace (the default in one).",
    ),
    Option(
        "map-current-user",
        "c",
        help="Keep your own user and group ids in a new user namespace.",
    ),
    Option("map-user", metavar="USER", convert=_user, help="Be this user in a new user namespace."),
    Option(
        "map-group", metavar="GROUP", convert=_group, help="Be this group in a new user namespace."
    ),
    Option(
        "map-auto",
        help="Map your own ids, and then all of your subordinate ones (/etc/subuid, /etc/subgid).",
    ),
    Option(
        "map-users",
        metavar="INNER:OUTER:COUNT",
        convert=_extent,
        many=True,
        help="Map COUNT user ids, starting at OUTER, to those starting at INNER in the "
        "container; or auto. Repeatable.",
    ),
    Option(
        "map-groups",
        metavar="INNER:OUTER:COUNT",
        convert=_extent,
        many=True,
        help="Map COUNT group ids in the same way; or auto. Repeatable.",
    ),
    Option(
        "setgroups",
        metavar="allow|deny",
        convert=_allow_or_deny,
        help="Allow or deny setgroups in the new user namespace.",
    ),
    Option(
        "setuid",
        "S",
        metavar="USER",
        convert=_user,
        help="Run PROGRAM as this user, as seen in the container. A name brings its login group "
        "along; a number leaves the group as it is, unless there is --setgid.",
    ),
    Option("setgid", "G", metavar="GROUP", convert=_group, help="Run PROGRAM as this group."),
    Option(
        "groups",
        metavar="GROUP,...",
        convert=_groups,
        help="Give PROGRAM these supplementary groups; none for an empty list.",
    ),
)
"""The options for id maps, and for the program's user and groups."""


def _bind(name: str, purpose: str) -> Option:
    """Return an option that binds a file or directory elsewhere."""

    def convert(source: str, target: str) -> "Bind":
        from spawner.mount import mounts

        return mounts.bind(name, source, target)

    return Option(name, metavar="SRC DST", convert=convert, pair=True, into="mounts", help=purpose)


def _point(name: str, metavar: str, purpose: str) -> Option:
    """Return an option for one more thing that is mounted or made."""

    def convert(*words: str) -> "Entry":
        from spawner.mount import mounts

        return mounts.point(name, *words)

    return Option(
        name, metavar=metavar, convert=convert, pair=" " in metavar, into="mounts", help=purpose
    )


def _tmpfs(word: str) -> "Tmpfs":
    from spawner.mount import mounts

    return mounts.tmpfs(word)


def _overlay(word: str) -> "Overlay":
    from spawner.mount import mounts

    return mounts.overlay(word)


def _overlay_upper(upper: str, target: str) -> "Overlay":
    from spawner.mount import mounts

    return mounts.overlay_upper(upper, target)


MOUNTS = (
    Option(
        "propagation",
        metavar="HOW",
        help="Let mounts spread to the new mount namespace (slave), both ways (shared) or not at "
        "all (private, the default); or leave the propagation as it is (unchanged).",
    ),
    Option(
        "mount-proc",
        metavar="DIR",
        optional=True,
        help="Mount proc on DIR in place of /proc, in a new mount namespace.",
    ),
    Option(
        "rootfs",
        metavar="DIR",
        help="Make DIR the root directory, and start PROGRAM in it, unless there is --workdir.",
    ),
    Option(
        "read-only",
        help="Make the root of --rootfs or --tmpfs / read-only, but not /proc and the mounts "
        "named.",
    ),
    _bind(
        "bind", "Mount the host's file or directory SRC on DST. Repeatable, as are the next ones."
    ),
    _bind("ro-bind", "The same, read-only, with all that is mounted below."),
    _bind("dev-bind", "The same as --bind, and device files can be opened."),
    _bind("bind-try", "As --bind, if SRC exists."),
    _bind("ro-bind-try", "As --ro-bind, if SRC exists."),
    _bind("dev-bind-try", "As --dev-bind, if SRC exists."),
    Option(
        "tmpfs",
        metavar="DST[:size=SIZE]",
        convert=_tmpfs,
        into="mounts",
        help="Mount an empty file system in memory on DST, of 256M at most, or SIZE. Repeatable. "
        "One on / comes first, and becomes the root: only what is mounted is in it.",
    ),
    Option(
        "overlay",
        metavar="DST[:size=SIZE]",
        convert=_overlay,
        into="mounts",
        help="Let PROGRAM change what the directory DST holds (/ for all of --rootfs), and keep "
        "that in memory, of 256M at most, or SIZE, while the directory stays as it is. Repeatable.",
    ),
    Option(
        "overlay-upper",
        metavar="DIR DST",
        convert=_overlay_upper,
        pair=True,
        into="mounts",
        help="The same, and what changes goes to the directory DIR of the host's, and stays there.",
    ),
    Option(
        "changes",
        metavar="FD",
        convert=cmdline.descriptor,
        help="Tell on descriptor FD, at the end, what was added, changed and deleted in overlays, "
        "as JSON, one object a line.",
    ),
    _point(
        "dev",
        "DST",
        "Mount the devices null, zero, full, random, urandom and tty on the directory DST, "
        "with pts of its own and shm; no others.",
    ),
    _point("proc", "DST", "Mount the container's proc on DST as well. It's on /proc anyway."),
    _point("mqueue", "DST", "Mount the container's POSIX message queues on DST."),
    _point("dir", "DST", "Make the directory DST in what --tmpfs or --dev has mounted."),
    _point("symlink", "TEXT DST", "Make the symbolic link DST to TEXT there."),
    _point("file", "FD DST", "Make the file DST there, of what is read from the descriptor FD."),
    _point("ro-bind-data", "FD DST", "Mount what is read from FD on DST, as a file, read-only."),
    _point("mask", "PATH", "Hide the content of PATH, a file or directory. Repeatable."),
    _point("readonly", "PATH", "Make PATH read-only, with all that is mounted below. Repeatable."),
)
"""The options for mounts."""

LIMITS = (
    Option(
        "memory",
        metavar="BYTES",
        convert=_memory,
        help="Limit the memory of the container, as in 64M: beyond that the kernel ends a process "
        "in it.",
    ),
    Option(
        "memory-swap",
        metavar="BYTES",
        convert=_memory,
        help="Limit memory and swap together, or unlimited; without this there's no swap.",
    ),
    Option(
        "pids-limit",
        metavar="N",
        convert=_whole,
        help="Limit the container to N processes and threads.",
    ),
    Option(
        "cpus",
        metavar="N",
        convert=_processors,
        help="Limit the container to the time of N processors, as in 1.5.",
    ),
    Option(
        "cpu-weight",
        metavar="N",
        convert=_whole,
        help="Where processors are scarce, give the container the weight N, from 1 to 10000; "
        "others have 100.",
    ),
    Option(
        "cpuset",
        metavar="LIST",
        help="Run the container on these processors only, as in 0-3,5.",
    ),
    Option(
        "io-weight",
        metavar="N",
        convert=_whole,
        help="The same as --cpu-weight, for input and output; requires control groups of version "
        "2.",
    ),
    Option(
        "cgroup-parent",
        metavar="PATH",
        help="Make the control group for these limits in the one at PATH.",
    ),
    Option(
        "limits",
        metavar="try|process",
        help="Limit memory and the number of processes without a control group, by limits on each "
        "process: always (process), or only where no group can be made (try).",
    ),
    Option(
        "rlimit",
        metavar="NAME=SOFT[:HARD]",
        convert=_rlimit,
        many=True,
        help="Limit a resource of each process, as in nofile=1024 or as=2G:unlimited; the names "
        "are those of prlimit(1). Repeatable.",
    ),
    Option(
        "nice", metavar="N", convert=_whole, help="Give PROGRAM the nice value N, from -20 to 19."
    ),
    Option(
        "oom-score-adj",
        metavar="N",
        convert=_whole,
        help="Set the OOM score adjustment: where memory runs out, PROGRAM is ended sooner, up "
        "to 1000, or later, down to -1000.",
    ),
    Option(
        "time-limit",
        metavar="SECONDS",
        convert=cmdline.seconds,
        help="Kill everything once PROGRAM has run for SECONDS: at once, without a stop signal; "
        "the status is 137.",
    ),
)
"""The options for limits."""

OUTPUT = (
    Option(
        "max-output",
        metavar="BYTES",
        convert=cmdline.size,
        help="Pass on BYTES of what PROGRAM writes to standard output and error, which are pipes "
        "then, and kill everything when it writes more. K, M, G or T may follow.",
    ),
)
"""The option that bounds the output."""

RIGHTS = (
    Option(
        "cap-drop",
        metavar="CAP[,CAP]",
        convert=_capabilities,
        many=True,
        help="Take these capabilities, or all of them, from everything in the container, as with "
        "--cap-drop all --cap-add net_bind_service. Repeatable.",
    ),
    Option(
        "cap-add",
        metavar="CAP[,CAP]",
        convert=_capabilities,
        many=True,
        help="Give PROGRAM these capabilities, or all that there are, whatever its user id. "
        "Repeatable.",
    ),
    Option(
        "no-new-privs",
        help="Let no exec give more rights: set-user-ID programs and file capabilities have none.",
    ),
    Option(
        "seccomp",
        metavar="default|FILE|FD",
        convert=_filter,
        many=True,  # to refuse a second one, which would take the place of the first
        help="Have a seccomp filter judge all system calls: a profile like that of the container "
        "engines, or the compiled BPF in FILE or in the file of descriptor FD.",
    ),
    Option(
        "disable-userns",
        help="Let no process in the new user namespace make another one, not even root's.",
    ),
    Option(
        "landlock",
        metavar="KIND=VALUE",
        convert=_landlock,
        many=True,
        help="Restrict by Landlock: read, write, execute or ioctl only a path and what is below "
        "it, as in read,execute=/usr; bind or connect only these TCP ports; none leaves nothing. "
        "scope=abstract,signal keeps abstract sockets and signals in. Repeatable.",
    ),
)
"""The options for rights."""

DESCRIPTORS = (
    Option(
        "pass-fds",
        metavar="FD[,FD]",
        convert=_descriptors,
        many=True,
        help="Give PROGRAM no open descriptors but 0, 1, 2 and these; or none. Repeatable.",
    ),
)
"""The option that passes on open files."""

TERMINALS = (
    Option(
        "new-session",
        help="Start PROGRAM in a session and at a terminal of its own, out of reach of yours.",
    ),
)
"""The option for a session."""

KEEP = (
    Option(
        "persist",
        metavar="DIR",
        help="As root, keep the new namespaces as files in DIR, for other processes to join, until "
        "`pyspawn release DIR`.",
    ),
)
"""The option for keeping namespaces as files."""

TABLE = (
    Option(
        "sandbox",
        help="Keep out of PROGRAM's reach all but the system's programs, read-only: no files of "
        "yours, network, variables, capabilities or other processes. It starts in an empty home, "
        "or here, if here is bound. What other options give is added.",
    ),
    Option(
        "init",
        metavar="PATH",
        optional=True,
        help="Put pyinit, or the init at PATH, in front of PROGRAM as PID 1.",
    ),
    *FLAGS,
    Option(
        "unshare",
        metavar="LIST",
        convert=_names,
        many=True,
        help="Make these namespaces new as well.",
    ),
    Option(
        "share",
        metavar="LIST",
        convert=_names,
        many=True,
        help="Share these namespaces with pyspawn: they aren't new.",
    ),
    Option(
        "unshare-try",
        metavar="LIST",
        convert=_names,
        many=True,
        help="Make these namespaces new if the kernel agrees; else say so and go on without them.",
    ),
    *NETWORK,
    *IDS,
    *MOUNTS,
    *LIMITS,
    *OUTPUT,
    *RIGHTS,
    *DESCRIPTORS,
    *TERMINALS,
    *KEEP,
    Option("hostname", metavar="NAME", help="Set the container's host name."),
    Option(
        "monotonic",
        metavar="SECONDS",
        convert=_whole_seconds,
        help="Set the monotonic clock ahead, or back, in a new time namespace (--time).",
    ),
    Option(
        "boottime",
        metavar="SECONDS",
        convert=_whole_seconds,
        help="Set the boot-time clock (CLOCK_BOOTTIME) ahead, or back (--time).",
    ),
    Option("workdir", "w", metavar="DIR", help="Start PROGRAM in this directory."),
    Option(
        "env",
        metavar="NAME=VALUE",
        convert=_variable,
        many=True,
        help="Set a variable of PROGRAM's environment. Repeatable.",
    ),
    Option(
        "keep-env",
        help="With --sandbox, give PROGRAM the variables that pyspawn has, as without it.",
    ),
    Option("clearenv", help="Give PROGRAM no variables but those of --env."),
    Option(
        "stop-signal",
        metavar="SIGNAL",
        convert=_signal,
        help="Send SIGNAL, a name or a number, when pyspawn gets SIGTERM.",
    ),
    Option(
        "stop-timeout",
        metavar="SECONDS",
        convert=_time_out,
        help=f"Kill everything SECONDS after SIGTERM ({STOP_TIMEOUT:g}); infinity for never.",
    ),
    Option("die-with-parent", help="Kill everything when the process that started pyspawn dies."),
    Option(
        "json-status",
        metavar="FD",
        convert=cmdline.descriptor,
        help="Tell on descriptor FD what happens, as JSON, one object a line.",
    ),
    Option(
        "dry-run",
        metavar="json",
        optional=True,
        convert=_json,
        help="Print the steps in their order, and take none; with =json as JSON, one object a "
        "line.",
    ),
    Option(
        "explain",
        help="Explain on stderr each step as it is taken: the call, what it does, and why now.",
    ),
    Option("verbose", "v", help="Say on stderr what happens."),
    Option(
        "background",
        help="Leave the terminal's foreground to the process that started pyspawn until PROGRAM "
        "needs it.",
        hidden=True,
    ),
    Option("quiet", help="Print no messages; failures only go to --json-status.", hidden=True),
    Option(
        "lifeline",
        metavar="FD",
        convert=cmdline.descriptor,
        help="Kill everything once descriptor FD can be read, or is at its end.",
        hidden=True,
    ),
    Option("help", "h", help="Show this help and exit."),
    Option("version", "V", help="Show the version and exit."),
)

BY_NAME = {option.long: option for option in TABLE}


WISHES = {
    "spawner.descriptors.passing": DESCRIPTORS,
    "spawner.ids.identity": IDS,
    "spawner.life.persist": KEEP,
    "spawner.limit.output": OUTPUT,
    "spawner.limit.limits": LIMITS,
    "spawner.mount.tree": MOUNTS,
    "spawner.net.network": NETWORK,
    "spawner.terminal.session": TERMINALS,
    "spawner.rights.rights": RIGHTS,
}
"""The options of each subject, by the module whose `wish` reads them.

They stand here, and not there, since each start with options reads all of them.
"""


def spec(values: "Mapping[str, Any]", program: list[str], *, user: int, group: int) -> Spec:
    """Return the specification that options and program add up to, for a caller with these ids.

    Raises UsageError and SpecError.
    """
    values = _in_our_words(values)
    if values.get("sandbox"):
        from spawner.command import sandbox

        values, program = sandbox.widen(values, list(program) or [shell()], user, group, IDS)
    joined = {flag.name: values[flag.name] for flag in FLAGS if _is_file(values.get(flag.name))}
    choice = Choice(
        user,
        group,
        unshare=[
            *(flag.name for flag in FLAGS if values.get(flag.name) is True),
            *_all(values, "unshare"),
        ],
        share=[*_all(values, "share"), *joined, *values.get("as_host", ())],
        attempt=_all(values, "unshare_try"),
        joined=joined,
    )
    wanted = wishes(values, choice)
    given = {
        name: values[name]
        for name in ("hostname", "monotonic", "boottime", "workdir", "stop_signal", "stop_timeout",
                     "die_with_parent")
        if name in values
    }  # fmt: skip
    init = values.get("init")
    return Spec(
        tuple(program) or (shell(),),
        namespaces=choice.namespaces(),
        wishes=tuple(wanted),
        init="" if init is True else init,
        environment=tuple(values.get("env", ())),
        clear_environment=values.get("clearenv", False),
        **given,
    )


def wishes(values: "Mapping[str, Any]", choice: Choice) -> "list[Wish]":
    """Return the wishes that the options express; a wish may add namespaces to `choice`.

    Raises UsageError and SpecError.
    """
    found: list[Wish] = []
    if choice.joined:
        from spawner.joining.target import Joins

        found.append(Joins(files=choice.joined))
    for home, options in WISHES.items():
        if any(option.name in values for option in options):
            wish: Wish | None = __import__(home, fromlist=("wish",)).wish(values, choice)
            if wish is not None:
                found.append(wish)
    return found


def _all(values: "Mapping[str, Any]", name: str) -> list[str]:
    """Return the kinds in all lists that an option was given."""
    return [kind for kinds in values.get(name, ()) for kind in kinds]


def shell() -> str:
    """Return the user's shell, which runs where no program is named, as with unshare(1)."""
    found = posix.environ.get(b"SHELL") or b"/bin/sh"
    return found.decode("utf-8", "surrogateescape")


def _in_our_words(values: "Mapping[str, Any]") -> "dict[str, Any]":
    """Return the values with docker(1)'s words for namespaces translated to pyspawn's."""
    found = dict(values)
    for flag in FLAGS:
        value = found.get(flag.name)
        if value == "host":
            del found[flag.name]
            found.setdefault("as_host", []).append(flag.name)
        elif value == "private":
            found[flag.name] = True
        elif flag.name == "net" and value in _NETWORKS and "network" not in found:
            found["network"] = found.pop("net")
    return found


def _is_file(value: "str | bool | None") -> bool:
    """Tell whether the option for a kind of namespace has a file to join as its value."""
    return isinstance(value, str)
