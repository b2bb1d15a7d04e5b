"""The preset `--sandbox`: the options that it stands for, to which those of the command line add.

It is made of ordinary options and does nothing by itself, so --dry-run shows all of it. What is
given beside it takes the place of what the preset has for the same subject: a mount on the same
directory, a namespace, the ids, the limit of a resource, a variable, the working directory.

Who the program is. An ordinary user stays who they are, without any capability: so it can write
what they bind, and nothing needs subordinate ids. Root's program must not be root of the host, also
in a user namespace: the kernel lets user 0 write most of /proc/sys without a capability, doesn't
count its processes, and lets it read what only root may. It is the user USER, which is NOBODY
outside, and which no file should belong to. Root itself is mapped as well, as the owner of the
system's files, which nobody in there can become.
"""

import posix

from spawner import lean
from spawner.errors import SpecError, mark
from spawner.host import interpreters, proc, programs
from spawner.ids.idmap import Extent
from spawner.limit.limits import Rlimit, above
from spawner.mount.entry import ROOT, hides
from spawner.mount.files import Mask, ReadOnly, Symlink, Text, changes
from spawner.mount.mounts import Bind, Dev, Found, Tmpfs
from spawner.rights import part
from spawner.rights.landlock import SCOPES, Landlock
from spawner.rights.rights import DEFAULT
from spawner.spec import ALL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from pyinit.cmdline import Option
    from spawner.mount.entry import Entry

HOME = "/home/sandbox"
"""The program's own home, in memory."""

PRIVATE = "/tmp"  # noqa: S108  the container's own
"""The directory in memory that everybody in the container may write to."""

HOST_NAME = "sandbox"

USER = 1000
NOBODY = 65534
"""Who root's program is, inside and outside: the user that owns nothing, as systemd.exec(5) says of
"nobody"; the kernel shows ids that aren't mapped as this one, user_namespaces(7)."""

ROOT_SIZE = 4 << 20
"""Bytes for the root, which holds no more than mount points and the directories above them."""

PIDS = 1024
"""The most processes and threads."""

NAMESPACES = ("user", "pid", "mount", "uts", "ipc", "net", "cgroup")
"""All but the time namespace, which keeps nothing in or out."""

ETC = (
    "alternatives",
    "ld.so.cache",
    "ld-musl-x86_64.path",
    "ld-musl-aarch64.path",
    "localtime",
    "timezone",
    "passwd",
    "group",
    "nsswitch.conf",
    "hosts",
    "protocols",
    "services",
    "mime.types",
    "ca-certificates/extracted",
    "ssl/certs",
    "ssl/cert.pem",
    "ssl/openssl.cnf",
    "pki/tls/certs",
    "pki/tls/cert.pem",
    "pki/tls/openssl.cnf",
    "pki/ca-trust/extracted",
    "crypto-policies",
    "fonts",
)
"""Files in /etc that programs rely on, without secrets: keys, shadow(5), or settings of yours.

Of certificates' directories only those of certificates: keys lie beside them.
"""

RESOLVER = "resolv.conf"
"""The file in /etc that says who answers for names, for those that have a network."""

_TOPS = interpreters.SYSTEM

GUARDED = ("/proc/sysrq-trigger", "/proc/kcore", "/proc/keys", "/proc/timer_list")
"""What is masked where the program may be root of the host, proc(5)."""

PASSED = (b"LANG", b"TERM")
"""Variables that stay as they are."""


def widen(
    values: "Mapping[str, Any]", program: list[str], user: int, group: int, ids: "Iterable[Option]"
) -> "tuple[dict[str, Any], list[str]]":
    """Return the values of options with those of the preset, and the program with its arguments.

    `user` and `group` are the ids of the caller, and `ids` are the options for ids, any of which
    says who the program is. Raises SpecError.
    """
    found = dict(values)
    _add_namespaces(found)
    names: list[Entry] = []
    if any(option.name in values for option in ids):
        guards: list[Entry] = [ReadOnly("/proc/sys"), *map(Mask, GUARDED)]
    else:
        found.update(_identity(user))
        guards = []
        names = _names(*((user, group) if user else (USER, USER)))
    preset = _mounts(found, program, names)
    found["mounts"] = [*_merged(preset, values.get("mounts", [])), *guards]
    if "rootfs" not in values:
        found.setdefault("read_only", True)
        place = found.setdefault("workdir", _place(found["mounts"]))
        if "/" in program[0] and place != _here():
            program = [_file(program[0], None) or program[0], *program[1:]]
    if any("uts" in kinds for kinds in found["unshare"]):
        found.setdefault("hostname", HOST_NAME)
    _add_rights(found)
    found["rlimit"] = [*_limits(values), *values.get("rlimit", ())]
    found["new_session"] = True
    found.setdefault("pass_fds", [()])
    if not values.get("keep_env"):
        found["clearenv"] = True
        found["env"] = [*_environment(found["mounts"]), *values.get("env", ())]
    return found, program


def _add_namespaces(values: "dict[str, Any]") -> None:
    """Add the preset's namespaces, without those of which something else is said."""
    named = {kind for name in ("share", "unshare_try") for kinds in values.get(name, ())
             for kind in kinds}  # fmt: skip
    if ALL in named:
        raise SpecError(
            f"{mark('--sandbox')} is made of namespaces, and {mark('--share all')} leaves none",
            f"name those that it is to do without: {mark('--share net')}",
        )
    if any("pid" in kinds for kinds in values.get("share", ())):
        raise SpecError(
            f"{mark('--sandbox')} shows a program its own processes, and {mark('--share pid')} "
            "leaves it no /proc that does",
            f"leave out {mark('--share pid')}",
        )
    named |= {*values.get("as_host", ()), *(kind for kind in NAMESPACES if kind in values)}
    if not _is_apart(values.get("network")):
        named.add("net")
    added = [kind for kind in NAMESPACES if kind not in named]
    values["unshare"] = [*values.get("unshare", ()), added]


def _add_rights(values: "dict[str, Any]") -> None:
    """Take away what the program may do, beside what is taken already; the namespaces are added."""
    values["cap_drop"] = [frozenset({ALL}), *values.get("cap_drop", ())]
    values["no_new_privs"] = True
    values.setdefault("seccomp", [DEFAULT])
    if any("user" in kinds for kinds in values["unshare"]):
        values["disable_userns"] = True
    if part.keeps_in():
        values["landlock"] = [*values.get("landlock", ()), Landlock(scope=SCOPES)]


def _is_apart(network: str | None) -> bool:
    """Tell whether a kind of network is one of the container's own, or nothing is said of it."""
    return network != "host"


def _identity(user: int) -> "dict[str, Any]":
    """Return the options that say who the program is, for a caller with this user id."""
    if user:
        return {"map_current_user": True}
    if _has_nobody():
        maps = [Extent(0, 0), Extent(USER, NOBODY)]
        return {"map_users": maps, "map_groups": maps, "setuid": USER, "setgid": USER, "groups": ()}
    return {"map_user": USER, "map_group": USER}


def _has_nobody() -> bool:
    """Tell whether root has another id to give here; raises SpecError where it's needed."""
    lines = proc.contents("/proc/self/uid_map").splitlines() or ["0 0 4294967295"]
    extents = [tuple(map(int, line.split())) for line in lines]
    if any(inner <= NOBODY < inner + count for inner, _, count in extents):
        return True
    if any(inner == outer == 0 for inner, outer, _ in extents):
        raise SpecError(
            f"the program in {mark('--sandbox')} would be root of the host, since the user "
            f"namespace of pyspawn has no user {NOBODY}",
            f"start pyspawn as another user, or map one: {mark('--map-users INNER:OUTER:COUNT')}",
        )
    return False


def _names(user: int, group: int) -> "list[Entry]":
    """Return the files that name the program's user and group, and no others of the host's."""
    users = {0: "root", user: "sandbox", NOBODY: "nobody"}
    groups = {0: "root", group: "sandbox", NOBODY: "nogroup"}
    homes = {user: f"{HOME}:/bin/sh"}
    passwd = [f"{name}:x:{number}:{group if number == user else number}::"
              f"{homes.get(number, '/:/usr/sbin/nologin')}\n"
              for number, name in users.items()]  # fmt: skip
    return [
        Text("".join(passwd), "/etc/passwd"),
        Text("".join(f"{name}:x:{number}:\n" for number, name in groups.items()), "/etc/group"),
    ]


def _mounts(values: "Mapping[str, Any]", program: list[str], names: "list[Entry]") -> "list[Entry]":
    """Return the preset's mounts, the outer before what lies in them.

    `names` are the files that say who the users are, if not the host's.
    """
    if "rootfs" in values:
        return [Tmpfs(PRIVATE), Dev()]
    found: list[Entry] = [Tmpfs(ROOT, size=ROOT_SIZE), Dev(), Tmpfs(PRIVATE), Tmpfs(HOME)]
    found += map(_top, _TOPS)
    made = list(names)
    if any("net" in kinds for kinds in values["unshare"]):
        made.append(Text(f"127.0.0.1 localhost {HOST_NAME}\n::1 localhost\n", "/etc/hosts"))
    etc = [*ETC, *([RESOLVER] if _has_network(values) else [])]
    places = {each.target for each in made}
    found += (_seen(f"/etc/{name}") for name in etc if f"/etc/{name}" not in places)
    found += made
    for path, place in _needed(values, program).items():
        store = next((each for each in interpreters.STORES if hides(each, path)), None)
        if store is None:
            found.append(Found(path, place) if place else _seen(path))
        elif _seen(store) not in found:
            found.append(_seen(store))
    return sorted(found, key=lambda each: each.target.split("/") if each.target != ROOT else [])


def _has_network(values: "Mapping[str, Any]") -> bool:
    """Tell whether the program may reach others."""
    kind = values.get("network", "").partition(":")[0]
    apart = any("net" in kinds for kinds in values["unshare"])
    return not apart or kind in ("slirp4netns", "pasta", "veth")


def _top(path: str) -> "Entry":
    """Return the entry for one of the system's directories: a link stays one."""
    try:
        return Symlink(posix.readlink(path), path)
    except OSError:  # a directory, or nothing
        return _seen(path)


def _seen(path: str) -> Bind:
    """Return the mount of a path of the host's at the same place, read-only, if it's there."""
    return Bind(path, path, read_only=True, missing_ok=True)


def _needed(values: "Mapping[str, Any]", program: list[str]) -> dict[str, str]:
    """Return the paths that the program, its interpreter and pyinit need, and where they lead.

    The latter as `interpreters.needs` has seen it, "" for what is ours.
    """
    search_path = posix.environ.get(b"PATH")
    init = values.get("init")
    asked: list[str | None] = [lean.interpreter(), _file(program[0], search_path)]
    if isinstance(init, str):
        asked.append(_file(init, search_path))
    found = {f"{lean.HERE}/pyinit": ""} if init is True else {}
    for path in asked:
        found |= interpreters.needs(path, search_path) if path is not None else {}
    there = {*_TOPS, *(f"/etc/{name}" for name in ETC), *found}
    return {
        path: found[path]
        for path in sorted(found, key=len)
        if not interpreters.covered(path, there - {path})
    }


def _file(program: str, search_path: bytes | None) -> str | None:
    """Return the absolute path of a program on this host, None where there's none."""
    found: str | None = program
    if "/" not in program:
        found = programs.find(program, search_path)
    elif not program.startswith("/"):
        here = _here()
        found = None if here is None else f"{here}/{program}"
    return None if found is None else interpreters.direct(found)


def _here() -> str | None:
    """Return the path of the working directory, None where it's gone."""
    try:
        return posix.getcwd()
    except OSError:
        return None


def _merged(preset: "Iterable[Entry]", named: "Iterable[Entry]") -> "list[Entry]":
    """Return the preset's mounts with those that were named among them.

    One on the same place takes that of the preset; one that would hide some of the preset's comes
    before these.
    """
    named = list(named)
    found = [(each, True) for each in preset if not _is_brought(each, named)]
    for entry in named:
        if not isinstance(entry, (Mask, ReadOnly)):  # these are about what is there
            found = [(each, ours) for each, ours in found
                     if not (ours and each.target == entry.target)]  # fmt: skip
        place = len(found)
        if not changes(entry):
            place = next((number for number, (each, ours) in enumerate(found)
                          if ours and hides(entry.target, each.target)), place)  # fmt: skip
        found.insert(place, (entry, False))
    return [each for each, _ in found]


def _is_brought(entry: "Entry", named: "Iterable[Entry]") -> bool:
    """Tell whether a bind that was named brings a link, which a mount would follow.

    As `lib64` of a virtual environment in the project. Where the link leads is seen by itself.
    """
    if not isinstance(entry, Bind) or not any(
        _stays(each) and hides(each.target, entry.target) for each in named
    ):
        return False
    return interpreters.real(entry.target) not in (None, entry.target)


def _place(entries: "Iterable[Entry]") -> str:
    """Return the directory where the program starts: the working one, if it's there, or HOME."""
    here = _here()
    for each in entries:
        if here is None or each.target == ROOT:
            continue
        if each.target == here or (_stays(each) and hides(each.target, here)):
            return here
    return HOME


def _stays(entry: "Entry") -> bool:
    """Tell whether an entry shows something of the host's where it is there."""
    if not isinstance(entry, Bind):
        return False
    source = entry.source if entry.source.startswith("/") else f"{_here()}/{entry.source}"
    return interpreters.direct(source) == entry.target


def _limits(values: "Mapping[str, Any]") -> "list[Rlimit]":
    """Return the preset's limits for those resources of which nothing else is said."""
    import resource as numbers

    taken = {each.resource for each in values.get("rlimit", ())}
    if "pids_limit" in values:
        taken.add("nproc")
    found = []
    for name, most in (("core", 0), ("nproc", PIDS)):
        _, hard = numbers.getrlimit(getattr(numbers, f"RLIMIT_{name.upper()}"))
        if name not in taken:
            limit = hard if above(most, hard) else most
            found.append(Rlimit(name, limit, limit))
    return found


def _environment(entries: "Sequence[Entry]") -> "list[tuple[str, str]]":
    """Return the variables of the program: PATH, HOME, and of the caller's some that are harmless.

    Of PATH's directories those stay in which there is something. A root of one's own has no HOME.
    """
    places = {each.target for each in entries if isinstance(each, Bind)}
    above = {place.rpartition("/")[0] for place in places}
    search_path = _decoded(posix.environ.get(b"PATH") or programs.DEFAULT_PATH)
    kept = [
        each
        for each in search_path.split(":")
        if each.startswith("/") and (interpreters.covered(each, places) or each in above)
    ]
    path = ":".join(kept) or _decoded(programs.DEFAULT_PATH)
    passed = [(_decoded(name), _decoded(posix.environ[name])) for name in PASSED
              if name in posix.environ]  # fmt: skip
    home = HOME if any(each.target == HOME for each in entries) else PRIVATE
    return [("PATH", path), ("HOME", home), *passed]


def _decoded(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
