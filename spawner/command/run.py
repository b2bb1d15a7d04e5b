"""The options of `pyspawn`: one table, and the specification that they add up to."""

import posix

from pyinit import cmdline
from pyinit.cmdline import Option, UsageError
from spawner.errors import mark
from spawner.spec import KINDS, STOP_TIMEOUT, Spec, choose, kind_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from spawner.ids.idmap import Extent
    from spawner.ids.names import User
    from spawner.joining.target import Joins
    from spawner.net.network import Network

USAGE = """\
Usage: pyspawn [run] [OPTIONS] [--] [PROGRAM [ARG...]]
       pyspawn exec TARGET [OPTIONS] [--] [PROGRAM [ARG...]]
       pyspawn release DIR
       pyspawn zombies [OPTIONS] [PID...]

Run PROGRAM, or your shell ($SHELL), in namespaces of its own: processes, mounts with a /proc of its
own, IPC, host name and control groups are new, and users too (you are root inside) where you aren't
root. With --init, pyinit is PID 1 inside: it forwards signals and reaps orphans. Nothing outlives
pyspawn."""

HELP = "pyspawn --help"
"""What shows it."""

FOOTER = """\
LIST is one or more of user, pid, mount (or mnt), uts, ipc, net, cgroup, time with commas between
them, or all, in either case. --unshare adds to the namespaces above and --share takes away; their
order plays no part, and a namespace named by itself beats all.

Exit status: PROGRAM's own; 128+N if signal N killed it; 127 if it wasn't found; 126 if it couldn't
be executed; 125 if pyspawn itself could not do its work. pyspawn forwards every signal that it
gets."""


def _names(word: str) -> list[str]:
    """Return the kinds in a list with commas; raises ValueError where there's none."""
    names = word.split(",")
    if not all(names):
        raise ValueError(f"a name is missing in {word!r}")
    return [kind_of(name) for name in names]


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


def _json(word: str) -> str:
    if word != "json":
        raise ValueError(f"{word!r} is not json, the only form beside the plain one")
    return word


def _whole_seconds(word: str) -> int:
    """Return a number of seconds, which may be negative."""
    digits = word[1:] if word[:1] in ("-", "+") else word
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 18:
        raise ValueError(f"{word!r} is not a whole number of seconds")
    return int(word)


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
    """Return the path of a namespace file; raises ValueError for none."""
    if not word:
        raise ValueError("the path of the namespace is empty")
    return word


def _flag(name: str) -> Option:
    kind = KINDS[name]
    return Option(name, kind.short, metavar="FILE", optional=True, convert=_file, help=kind.help)


_NETWORKS = ("none", "loopback", "slirp4netns", "pasta")
"""Kinds of networks that --net=KIND may name as well, as docker(1) has it."""

FLAGS = tuple(
    # In the order of unshare(1); what it doesn't know comes last.
    _flag(name)
    for name in sorted(KINDS, key=lambda name: "muinpUCT".find(KINDS[name].short) % 9)
)
"""The flags of unshare(1), in its spelling."""

TABLE = (
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
        help="Keep these namespaces as they are for pyspawn.",
    ),
    Option(
        "unshare-try",
        metavar="LIST",
        convert=_names,
        many=True,
        help="Make these new if the kernel agrees, go on without them if not, and say so.",
    ),
    Option(
        "network",
        metavar="KIND",
        help="Have a network of this kind inside: host, none, loopback, slirp4netns, pasta, or "
        "veth:BRIDGE[,address=ADDRESS/LENGTH[,gateway=ADDRESS]].",
    ),
    Option(
        "publish",
        metavar="[ADDRESS:]PORT[:PORT][/udp]",
        many=True,
        help="Have what listens inside on the last PORT answer on this machine's. Repeatable.",
    ),
    Option(
        "map-root-user",
        "r",
        help="Be root in a new user namespace (the default in one).",
    ),
    Option(
        "map-current-user",
        "c",
        help="Be yourself in a new user namespace.",
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
        help="Map COUNT users from OUTER on to those from INNER on, or auto. Repeatable.",
    ),
    Option(
        "map-groups",
        metavar="INNER:OUTER:COUNT",
        convert=_extent,
        many=True,
        help="The same for groups.",
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
        help="Run PROGRAM as this user, as seen inside. A name brings its login group along; a "
        "number leaves the group as it is, without --setgid.",
    ),
    Option("setgid", "G", metavar="GROUP", convert=_group, help="Run PROGRAM as this group."),
    Option(
        "groups",
        metavar="GROUP,...",
        convert=_groups,
        help="Give PROGRAM these supplementary groups; none for an empty list.",
    ),
    Option(
        "propagation",
        metavar="HOW",
        help="Let mounts spread to the new mount namespace (slave), both ways (shared), not at all "
        "(private, the default), or leave that unchanged.",
    ),
    Option(
        "mount-proc",
        metavar="DIR",
        optional=True,
        help="Mount proc on DIR in place of /proc, in a new mount namespace.",
    ),
    Option(
        "persist",
        metavar="DIR",
        help="As root, keep the new namespaces as files in DIR, for others to join, until pyspawn "
        "release.",
    ),
    Option("hostname", metavar="NAME", help="Set the host name inside."),
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
        help="The same for the clock that counts from the boot.",
    ),
    Option("workdir", "w", metavar="DIR", help="Start PROGRAM in this directory."),
    Option(
        "env",
        metavar="NAME=VALUE",
        convert=_variable,
        many=True,
        help="Set a variable of PROGRAM's environment. Repeatable.",
    ),
    Option("clearenv", help="Give PROGRAM no variables but those of --env."),
    Option(
        "stop-signal",
        metavar="SIGNAL",
        convert=_signal,
        help="Send SIGNAL where pyspawn gets SIGTERM, by name or number.",
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
        help="Write what happens to descriptor FD, a JSON object a line.",
    ),
    Option(
        "dry-run",
        metavar="json",
        optional=True,
        convert=_json,
        help="Print the steps in their order, and take none; or as JSON, an object a line.",
    ),
    Option(
        "explain",
        help="Tell of each step as it is taken, on stderr: the call, what it does, and why now.",
    ),
    Option("verbose", "v", help="Say on stderr what happens."),
    Option(
        "background",
        help="Keep the terminal's foreground until PROGRAM needs it: who starts us may go on.",
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


def spec(values: "Mapping[str, Any]", program: list[str], *, user: int, group: int) -> Spec:
    """Return what the parsed options and the program add up to, for a caller with these ids.

    Raises UsageError and SpecError.
    """
    values = _in_our_words(values)
    unshare = [flag.name for flag in FLAGS if values.get(flag.name) is True]
    joined = {flag.name: values[flag.name] for flag in FLAGS if _is_file(values.get(flag.name))}
    unshare += [name for names in values.get("unshare", ()) for name in names]
    share = [name for names in values.get("share", ()) for name in names] + list(joined)
    share += values.get("as_host", ())
    attempt = [name for names in values.get("unshare_try", ()) for name in names]
    mappings = [name for name in ("map_root_user", "map_current_user") if values.get(name)]
    if len(mappings) > 1:
        raise UsageError(
            f"{mark('--map-root-user')} and {mark('--map-current-user')} exclude each other"
        )
    for name in ("map_user", "map_group"):
        if name in values:
            mappings.append(name)
            if values.get("map_current_user") or values.get("map_root_user"):
                chosen, other = mappings[0].replace("_", "-"), name.replace("_", "-")
                raise UsageError(
                    f"{mark(f'--{chosen}')} and {mark(f'--{other}')} exclude each other"
                )
    mapped = _maps(values, user, group)
    mappings += [name for name in ("map_auto", "map_users", "map_groups") if values.get(name)]
    if mappings and "user" not in attempt:
        unshare.append("user")
    mount_proc = values.get("mount_proc")
    if mount_proc is not None and "mount" not in (*share, *attempt):
        unshare.append("mount")
    network = _network(values)
    if network is not None:
        network.choose(unshare, share, attempt, joined)
    given = {
        name: values[name]
        for name in ("hostname", "propagation", "monotonic", "boottime", "workdir", "stop_signal",
                     "stop_timeout", "die_with_parent")
        if name in values
    }  # fmt: skip
    init = values.get("init")
    return Spec(
        program or [shell()],
        namespaces=choose(unshare, share, attempt, privileged=user == 0),
        network=network,
        **mapped,
        setgroups=values.get("setgroups"),
        user=values.get("setuid"),
        group=_chosen_group(values),
        groups=values.get("groups"),
        init="" if init is True else init,
        joins=_joins(joined),
        persist=values.get("persist"),
        mount_proc="/proc" if mount_proc is True else mount_proc,
        environment=values.get("env", ()),
        clear_environment=values.get("clearenv", False),
        **given,
    )


def shell() -> str:
    """Return what runs where no program is named, as with unshare(1): the user's shell."""
    found = posix.environ.get(b"SHELL") or b"/bin/sh"
    return found.decode("utf-8", "surrogateescape")


def _in_our_words(values: "Mapping[str, Any]") -> "dict[str, Any]":
    """Return the values with those of docker(1) for a kind of namespace in our words."""
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


def _chosen_group(values: "Mapping[str, Any]") -> int | None:
    """Return the group that was named, or that comes with a user who was."""
    if "setgid" in values or "setuid" not in values:
        return values.get("setgid")
    user: User = values["setuid"]
    return user.group


def _is_file(value: "str | bool | None") -> bool:
    """Tell whether the flag of a namespace names one to join."""
    return isinstance(value, str)


def _joins(files: dict[str, str]) -> "Joins | None":
    """Return the namespaces that are joined, None for none."""
    if not files:
        return None
    from spawner.joining.target import Joins

    return Joins(files=files)


def _network(values: "Mapping[str, Any]") -> "Network | None":
    """Return the network that the options name, if any; raises SpecError."""
    if "network" not in values and "publish" not in values:
        return None
    from spawner.net import network

    if "network" not in values:
        return network.unnamed()
    return network.parse(values["network"], values.get("publish", ()))


def _maps(values: "Mapping[str, Any]", user: int, group: int) -> "dict[str, Any]":
    """Return what the options say of maps; the caller has the id 0 inside unless they say else.

    Named extents are the whole map: the caller's own id is part of it only where it's named, or
    comes with the subordinate range.
    """
    found: dict[str, Any] = {}
    for kind, own in (("user", user), ("group", group)):
        extents = values.get(f"map_{kind}s", ())
        auto = values.get("map_auto", False) or "auto" in extents
        named = [extent for extent in extents if extent != "auto"]
        inner: int | None
        if values.get("map_current_user"):
            inner = own
        elif named and not auto and not values.get("map_root_user"):
            inner = values.get(f"map_{kind}")
        else:
            inner = values.get(f"map_{kind}", 0)
        found |= {f"map_{kind}": inner, f"auto_{kind}s": auto}
        if named:
            from spawner.ids.idmap import Extent, IdMap

            IdMap([*([] if inner is None else [Extent(inner, own)]), *named])
            found[f"{kind}_map"] = IdMap(named)
    return found
