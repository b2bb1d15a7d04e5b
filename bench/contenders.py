"""The command lines that are compared."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import linux
from bench.installed import Ours
from bench.nest import Nest

TRUE = ("/bin/true",)
BARE = "bare python"
PYINIT = "pyinit"
PYINIT_COMMAND = "pyinit (command)"
PYINIT_MODULE = "python -m pyinit"
PYSPAWN = "pyspawn --init"
PYSPAWN_LEAN = "pyspawn --init (lean)"
PYSPAWN_ALONE = "pyspawn"
PYSPAWN_PID1 = "pyspawn --init: to its PID 1"
STATUS_FD = 3

_SECOND_CGROUP_HIERARCHY = "/sys/fs/cgroup/unified"


@dataclass(frozen=True)
class Init:
    """An init's command line without its workload, as PID 1 and otherwise."""

    label: str
    as_pid1: tuple[str, ...]
    as_child: tuple[str, ...]

    def argv(self, pid1: bool) -> tuple[str, ...]:
        """Return the command line for the place that it will have."""
        return self.as_pid1 if pid1 else self.as_child


def bare_python(code: str) -> tuple[str, ...]:
    """Return the command line of an interpreter without `site`, at its cheapest."""
    return (sys.executable, "-I", "-S", "-c", code)


def inits(peers: Mapping[str, str], ours: Ours | None) -> list[Init]:
    """Return the inits that are there; not as PID 1 they are told to be subreapers."""
    found = []
    if "tini" in peers:
        found.append(Init("tini", (peers["tini"], "--"), (peers["tini"], "-s", "--")))
    for name in ("dumb-init", "catatonit"):
        if name in peers:
            found.append(Init(name, (peers[name], "--"), (peers[name], "--")))
    if ours:
        lean = (*ours.lean_pyinit, "--")
        found.append(Init(PYINIT, lean, lean))
    return found


def other_starts_of_pyinit(ours: Ours | None) -> list[Init]:
    """Return the ways to start `pyinit` that are more comfortable than the lean one."""
    if ours is None:
        return []
    command = (ours.pyinit, "--")
    module = (sys.executable, "-m", "pyinit", "--")
    return [Init(PYINIT_COMMAND, command, command), Init(PYINIT_MODULE, module, module)]


def pyspawns(ours: Ours | None, *labels: str) -> dict[str, tuple[str, ...]]:
    """Return the ways to start `pyspawn` that are named, without a workload."""
    if ours is None:
        return {}
    ways = {
        PYSPAWN: (ours.pyspawn, "--init", "--"),
        PYSPAWN_LEAN: (*ours.lean_pyspawn, "--init", "--"),
        PYSPAWN_ALONE: (ours.pyspawn, "--"),
        PYSPAWN_PID1: (ours.pyspawn, "--init", "--json-status", str(STATUS_FD), "--"),
    }
    return {label: ways[label] for label in labels}


def launchers(peers: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Return the peers of `pyspawn`, without a workload, with the namespaces that it makes."""
    found: dict[str, tuple[str, ...]] = {}
    if "unshare" in peers:
        unshare = (
            peers["unshare"],
            *("--fork", "--kill-child", "--pid", "--mount-proc", "--ipc", "--uts", "--cgroup"),
            *(("--map-root-user",) if os.geteuid() != 0 else ()),
            "--",
        )
        found["unshare"] = unshare
        if "tini" in peers:
            found["unshare, tini"] = (*unshare, peers["tini"], "--")
    if "bwrap" in peers:
        found["bwrap"] = (
            peers["bwrap"],
            *("--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup"),
            *("--dev-bind", "/", "/", "--proc", "/proc", "--die-with-parent", "--"),
        )
    return found


def oci_runtimes(
    nest: Nest, peers: Mapping[str, str], workload: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Return the command lines that run bundles of `workload`, with a bind of `/` as their root.

    One bundle is minimal: the namespaces, `/proc` and nothing else but an empty `/dev`. The other
    is what each runtime's `spec` writes, changed only where it has to be: also a network namespace,
    more mounts, fewer capabilities. A second cgroup hierarchy beside the first (hybrid mode) is out
    of sight, since crun refuses it.
    """
    root = make_root(nest)
    minimal = make_bundle(nest, "minimal", minimal_config(workload), root)
    commands: dict[str, tuple[str, ...]] = {}
    for name in ("crun", "runc"):
        if name in peers:
            usual = make_bundle(nest, f"{name}-spec", _usual(peers[name], nest, workload), root)
            for label, bundle in (oci_run(name), minimal), (oci_run(name, usual=True), usual):
                commands[label] = run_bundle(nest, peers[name], bundle)
    return commands


def run_bundle(nest: Nest, runtime: str, bundle: Path) -> tuple[str, ...]:
    """Return the command line by which an OCI runtime runs a bundle."""
    name = Path(runtime).name
    return (
        *(runtime, "--root", str(nest.scratch / name)),
        *("run", "--bundle", str(bundle), f"{nest.cgroup}-{name}"),
    )


def oci_run(name: str, *, usual: bool = False) -> str:
    """Return the label of a runtime with the minimal bundle, or the `usual` one."""
    return f"{name} run, of `{name} spec`" if usual else f"{name} run"


def make_root(nest: Nest) -> Path:
    """Bind `/` to a directory, in this process's private mount namespace, once; return it."""
    root = nest.scratch / "rootfs"
    if root.exists():
        return root
    root.mkdir()
    # In a user namespace the mounts below can't be taken apart, mount_namespaces(7).
    deep = linux.MS_REC if os.geteuid() != 0 else 0
    linux.mount("/", str(root), "", linux.MS_BIND | deep)
    if os.path.ismount(_SECOND_CGROUP_HIERARCHY):
        linux.mount("tmpfs", _SECOND_CGROUP_HIERARCHY, "tmpfs", 0)
    return root


def make_bundle(nest: Nest, name: str, config: dict[str, Any], root: Path) -> Path:
    """Write a bundle for an OCI runtime; return its directory."""
    config["root"] = {"path": str(root), "readonly": True}
    if os.geteuid() == 0:
        config["linux"]["cgroupsPath"] = f"/{nest.cgroup}"
    bundle = nest.scratch / name
    bundle.mkdir()
    (bundle / "config.json").write_text(json.dumps(config))
    return bundle


def _usual(runtime: str, nest: Nest, workload: Sequence[str]) -> dict[str, Any]:
    """Return what `runtime spec` writes, for `workload` without a terminal."""
    rootless = ("--rootless",) if os.geteuid() != 0 else ()
    with tempfile.TemporaryDirectory(dir=nest.scratch) as directory:
        subprocess.run([runtime, "spec", *rootless], cwd=directory, check=True)
        config: dict[str, Any] = json.loads(Path(directory, "config.json").read_text())
    config["process"] |= {"args": list(workload), "terminal": False}
    return config


def minimal_config(workload: Sequence[str]) -> dict[str, Any]:
    """Return the least that a runtime takes, with the namespaces that `pyspawn` makes."""
    namespaces = ["pid", "mount", "ipc", "uts", "cgroup"]
    system: dict[str, object] = {}
    if os.geteuid() != 0:
        namespaces.append("user")
        system = {
            "uidMappings": [{"containerID": 0, "hostID": os.geteuid(), "size": 1}],
            "gidMappings": [{"containerID": 0, "hostID": os.getegid(), "size": 1}],
        }
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": list(workload),
            "env": ["PATH=/usr/bin:/bin"],
            "cwd": "/",
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {
                "destination": "/dev",
                "type": "tmpfs",
                "source": "tmpfs",
                "options": ["nosuid", "mode=755"],
            },
        ],
        "linux": system | {"namespaces": [{"type": kind} for kind in namespaces]},
    }
