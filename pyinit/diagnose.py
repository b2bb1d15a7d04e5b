"""Find out why a fork failed, from /proc and the control group's files."""

import errno
import posix

from pyinit import errno_text, read_file, reaper


def fork_failed(error: OSError) -> tuple[str, str | None]:
    """Return the message for a failed fork, with a hint that names the limit that was reached."""
    line = f"fork: {errno_text(error.errno or 0)}"
    if error.errno != errno.EAGAIN:
        return line, None
    limit, cgroup = _pids_limit()
    hint = f"pids.max ({limit}) is reached" if limit else "a limit on processes is reached"
    holders = {pid: dead for pid, dead in _zombie_parents().items() if _counts(pid, cgroup)}
    if holders:
        count = sum(holders.values())
        worst = max(holders, key=lambda pid: holders[pid])
        name = reaper.command_name(worst).decode("utf-8", "backslashreplace")
        hint += f", {count} of the processes are zombies, {holders[worst]} left by {name} ({worst})"
    hint += "; raise the limit (docker run --pids-limit, ulimit -u) or end processes"
    return line, hint


def _pids_limit() -> tuple[str, str]:
    """Return pids.max of this control group if it is reached, and its line in /proc/PID/cgroup.

    See cgroups(7). Both are empty if no such limit is reached.
    """
    for line in _lines("/proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base = f"/sys/fs/cgroup{path}"
        elif "pids" in controllers.split(","):
            base = f"/sys/fs/cgroup/pids{path}"
        else:
            continue
        limit, current = _lines(f"{base}/pids.max"), _lines(f"{base}/pids.current")
        if limit and current and limit[0].isdigit() and int(current[0]) >= int(limit[0]):
            return limit[0], line
    return "", ""


def _counts(parent: int, cgroup: str) -> bool:
    """Tell whether the zombies of `parent` count towards the limit.

    A zombie's own cgroup can't be read in cgroup v1, but it is that of its parent.
    """
    if cgroup:
        return cgroup in _lines(f"/proc/{parent}/cgroup")
    try:
        return posix.stat(f"/proc/{parent}").st_uid == posix.getuid()
    except OSError:
        return False


def _zombie_parents() -> dict[int, int]:
    """Return the number of unreaped zombies by the pid of their parent."""
    found: dict[int, int] = {}
    try:
        names = posix.listdir("/proc")
    except OSError:
        return found
    for name in names:
        if not name.isdigit():
            continue
        for line in _lines(f"/proc/{name}/stat"):
            # proc(5): the command name in parentheses may hold anything.
            fields = line.rpartition(")")[2].split()
            if len(fields) > 1 and fields[0] == "Z":
                parent = int(fields[1])
                found[parent] = found.get(parent, 0) + 1
    return found


def _lines(path: str) -> list[str]:
    """Return the lines of a small file, none if the file can't be read."""
    return read_file(path).decode("utf-8", "backslashreplace").splitlines()
