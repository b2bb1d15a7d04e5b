"""Which part of a path can't be passed, path_resolution(7), and what to name in its place."""

import errno

from spawner.errors import mark
from spawner.host.paths import DIRECTORY, FORMAT, LINK, MOST_LINKS
from spawner.spec import KINDS
from spawner.why.evidence import Case, shown


def way(case: Case) -> str | None:
    """Say which part of a path can't be passed, path_resolution(7)."""
    if case.syscall not in ("chdir", "openat", "execve") or case.path.startswith("/proc/"):
        return None
    if case.errno not in (errno.EACCES, errno.ELOOP, errno.ENOENT, errno.ENOTDIR):
        return None  # of a file system that has failed, which may not answer the next time
    opened = case.syscall == "openat" and not case.names_proc
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
    if case.names_proc:
        return f"name another directory with {mark('--mount-proc')}"
    if case.syscall == "openat":
        return "name another path"
    if case.spec is None or case.spec.init == "":
        return "run pyspawn by another Python, such as /usr/bin/python3"
    if case.spec.init is None:
        return "run another program"
    return f"name another init, {mark('--init=PATH')}"


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
        found = case.host.stat(place)
        if isinstance(found, int):
            return found, place
        if found.st_mode & FORMAT == LINK:
            links += 1
            if links > MOST_LINKS:
                return errno.ELOOP, case.path
            target = case.host.link(place) or ""
            place = "/" if target.startswith("/") else here
            rest = target.split("/") + rest
        elif found.st_mode & FORMAT != DIRECTORY and (
            any(rest) or case.syscall == "chdir" or case.names_proc
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
    found = case.host.stat(place)
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
    found = case.host.stat(place)
    if isinstance(found, int):
        return f"user id {case.uid} can't see {name}: open the directories above it"
    letter = _refusing(case, place)
    if letter is None:
        return f"{name} lies on a file system mounted noexec: `mount -o remount,exec` it"
    verb = "enter" if found.st_mode & FORMAT == DIRECTORY else "execute"
    mode = f"mode {found.st_mode & 0o7777:04o}, owner {found.st_uid}"
    return f"user id {case.uid} can't {verb} {name} ({mode}): `chmod {letter}+x {name}`"
