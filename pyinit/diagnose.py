"""Why a fork failed: looked up only then, from /proc and the cgroup's files."""

import errno
import posix

from pyinit import reaper, status


def fork_failed(error: OSError) -> str:
    """Return one line on a fork that failed: the reason, and the limit that was reached."""
    line = f"fork: {status.errno_text(error.errno or 0)}"
    if error.errno != errno.EAGAIN:
        return line
    limit = _pids_limit()
    line += f"; pids.max ({limit}) is reached" if limit else "; a limit on processes is reached"
    holders = _zombie_parents()
    if holders:
        count = sum(holders.values())
        worst = max(holders, key=lambda pid: holders[pid])
        name = reaper.command_name(worst).decode("utf-8", "backslashreplace")
        line += f", {count} of them are zombies, {holders[worst]} left by {name} ({worst})"
    return line + "; raise the limit (docker run --pids-limit, ulimit -u) or end what holds it"


def _pids_limit() -> str | None:
    """Return pids.max of our cgroup if its processes have reached it, cgroups(7)."""
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
            return limit[0]
    return None


def _zombie_parents() -> dict[int, int]:
    """Return how many zombies each parent leaves unreaped, by the parent's pid."""
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
    """Return the lines of a small file, none where it can't be read."""
    return reaper.read_file(path).decode("utf-8", "backslashreplace").splitlines()
