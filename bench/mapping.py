"""Start to exit of `true` with a range of ids inside: `pyspawn --map-auto` beside `unshare`'s.

Both have newuidmap and newgidmap write the maps, as for an ordinary user. Root becomes one for each
start, by setpriv: a user who exists in the nest only, with subordinate ids of its own, by files
that cover those of /etc there. An ordinary user's nest is a user namespace of one id, in which
nothing can be mapped.
"""

from __future__ import annotations

import os
from pathlib import Path

from bench import linux
from bench.contenders import TRUE, bare_python
from bench.context import Bench
from bench.installed import find
from bench.launch import TWO_BARE
from bench.rounds import interleave
from bench.table import Table, of_samples

KEY = "mapping"
PYSPAWN = "pyspawn --map-auto --init"
PYSPAWN_ALONE = "pyspawn --map-auto"
UNSHARE = "unshare --map-auto"

_ID = 64996
_FILES = {
    "passwd": f"bench:x:{_ID}:{_ID}::/:/bin/sh\n",
    "subuid": "bench:100000:65536\n",
    "subgid": "bench:100000:65536\n",
}
_HELPERS = ("newuidmap", "newgidmap", "setpriv")


def run(bench: Bench) -> list[Table]:
    """Measure what can be started here, or say why nothing can."""
    title = "start to exit of `true` with subordinate ids, as an ordinary user, ms"
    denied = _denied(bench)
    if denied is not None:
        return [Table(KEY, title, (), {}, (f"skipped: {denied}",))]
    _be_known(bench.nest.scratch)
    notes: list[str] = []
    trials = {TWO_BARE: bench.start_to_exit((*_user(), *bare_python("pass")), times=2)}
    for label, prefix in bench.working(_prefixes(bench), notes).items():
        trials[label] = bench.start_to_exit((*prefix, *TRUE))
    samples = interleave(KEY, bench.scale.runs, trials, notes)
    return [of_samples(KEY, title, samples, TWO_BARE, notes)]


def _denied(bench: Bench) -> str | None:
    """Return why there's nothing to be measured here, or None."""
    if os.geteuid() != 0 or not bench.spawner.can_pid1:
        return "only root can make an ordinary user with subordinate ids, in a nest"
    missing = [name for name in _HELPERS if find(name) is None]
    if missing:
        return f"{', '.join(missing)} not installed (packages uidmap and util-linux)"
    absent = [f"/etc/{name}" for name in _FILES if not Path("/etc", name).is_file()]
    return f"there's no {absent[0]} to cover" if absent else None


def _be_known(scratch: Path) -> None:
    """Cover the files that say who there is, in the nest's own mount namespace."""
    for name, more in _FILES.items():
        place = scratch / name
        place.write_text(f"{Path('/etc', name).read_text().rstrip()}\n{more}")
        linux.mount(str(place), f"/etc/{name}", "", linux.MS_BIND)


def _user() -> tuple[str, ...]:
    """Return the command line that becomes the nest's user."""
    path = find("setpriv") or "setpriv"
    return (path, f"--reuid={_ID}", f"--regid={_ID}", "--clear-groups", "--")


def _prefixes(bench: Bench) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    if bench.ours:
        found[PYSPAWN] = (*_user(), bench.ours.pyspawn, "--map-auto", "--init", "--")
        found[PYSPAWN_ALONE] = (*_user(), bench.ours.pyspawn, "--map-auto", "--")
    if "unshare" in bench.peers:
        found[UNSHARE] = (
            *(*_user(), bench.peers["unshare"], "--map-auto", "--map-root-user"),
            *("--fork", "--kill-child", "--pid", "--mount-proc", "--ipc", "--uts", "--cgroup"),
            "--",
        )
    return found
