"""Start to exit of `true` with a root of its own, few rights and limits: what each step costs.

The measure is `pyspawn --init` with the same namespaces. A row `+ OPTIONS` is that with these
options alone; what this `pyspawn` or this machine can't do drops out, and the notes say why.
bwrap, crun and runc get the same isolation in their words: a read-only root that is a bind of
`/`, devices, an empty /tmp, no capability, no_new_privs.
"""

from __future__ import annotations

from typing import Any

from bench.contenders import TRUE, make_bundle, make_root, minimal_config, run_bundle
from bench.context import Bench
from bench.rounds import interleave
from bench.table import Table, of_samples

KEY = "sandbox"
PLAIN = "pyspawn --init, same namespaces"
ROOT = "+ all but a filter and limits"
PRESET = "--sandbox"

_TMPFS = ["nosuid", "nodev", "size=256m"]


def run(bench: Bench) -> list[Table]:
    """Measure what can be started here."""
    if not bench.spawner.can_pid1:
        return []
    notes: list[str] = []
    prefixes = {**_ours(bench), **_bwrap(bench)}
    trials = {
        label: bench.start_to_exit((*prefix, *TRUE))
        for label, prefix in bench.working(prefixes, notes).items()
    }
    for name in ("crun", "runc"):
        if name in bench.peers:
            bundle = make_bundle(bench.nest, f"{name}-sandbox", _config(), make_root(bench.nest))
            argv = run_bundle(bench.nest, bench.peers[name], bundle)
            trials[f"{name} run"] = bench.start_to_exit(argv)
    samples = interleave(KEY, bench.scale.runs, trials, notes)
    title = "start to exit of `true` in a sandbox, ms"
    return [of_samples(KEY, title, samples, PLAIN, notes)]


def _ours(bench: Bench) -> dict[str, tuple[str, ...]]:
    """Return our command lines, from one step to all."""
    if bench.ours is None:
        return {}
    root = str(make_root(bench.nest))
    plain = (bench.ours.pyspawn, "--init", "--unshare", "net,user")
    mounts = ("--rootfs", root, "--read-only", "--dev", "/dev", "--tmpfs", "/tmp")
    rights = ("--cap-drop", "all", "--no-new-privs")
    limits = ("--rlimit", "nofile=1024", "--rlimit", "core=0")
    found: dict[str, tuple[str, ...]] = {PLAIN: plain}
    for more in (
        ("--tmpfs", "/tmp"),
        ("--dev", "/dev"),
        ("--rootfs", root),
        ("--rootfs", root, "--overlay"),
        rights,
        limits,
        ("--seccomp", "default"),
        ("--pids-limit", "64"),
        ("--memory", "256M", "--pids-limit", "64"),
    ):
        found["+ " + " ".join(more).replace(root, "DIR")] = (*plain, *more)
    found[ROOT] = (*plain, *mounts, *rights)
    found[PRESET] = (bench.ours.pyspawn, "--init", "--sandbox")
    return {label: (*argv, "--") for label, argv in found.items()}


def _bwrap(bench: Bench) -> dict[str, tuple[str, ...]]:
    if "bwrap" not in bench.peers:
        return {}
    argv = (
        *(bench.peers["bwrap"], "--unshare-all", "--die-with-parent", "--cap-drop", "ALL"),
        *("--ro-bind", str(make_root(bench.nest)), "/", "--dev", "/dev", "--proc", "/proc"),
        *("--tmpfs", "/tmp", "--"),
    )
    return {"bwrap": argv}


def _config() -> dict[str, Any]:
    """Return the configuration of a bundle with the same isolation."""
    config = minimal_config(TRUE)
    config["process"] |= {"capabilities": {}, "noNewPrivileges": True}
    namespaces = config["linux"]["namespaces"]
    namespaces.append({"type": "network"})
    if {"type": "user"} not in namespaces:
        namespaces.append({"type": "user"})
        whole = [{"containerID": 0, "hostID": 0, "size": 65536}]
        config["linux"] |= {"uidMappings": whole, "gidMappings": whole}
    config["mounts"] += [
        _mount("/dev/pts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666"]),
        _mount("/dev/shm", "tmpfs", ["nosuid", "nodev", "noexec", "size=64m"]),
        _mount("/tmp", "tmpfs", _TMPFS),
    ]
    return config


def _mount(place: str, kind: str, options: list[str]) -> dict[str, Any]:
    return {"destination": place, "type": kind, "source": kind, "options": options}
