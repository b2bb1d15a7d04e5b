"""The command lines that are compared."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

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
    """Return the command lines that run a minimal bundle of `workload`.

    The bundle's root is a bind of `/`, made in this process's private mount namespace, with the
    namespaces, `/proc` and nothing else but an empty `/dev`. A second cgroup hierarchy beside the
    first (hybrid mode) is out of sight, since crun refuses it.
    """
    bundle = _make_bundle(nest, workload)
    commands: dict[str, tuple[str, ...]] = {}
    for name in ("crun", "runc"):
        if name in peers:
            state = str(nest.scratch / name)
            commands[f"{name} run"] = (
                *(peers[name], "--root", state),
                *("run", "--bundle", str(bundle), f"{nest.cgroup}-{name}"),
            )
    return commands


def _make_bundle(nest: Nest, workload: Sequence[str]) -> Path:
    bundle = nest.scratch / "bundle"
    root = bundle / "rootfs"
    root.mkdir(parents=True)
    # In a user namespace the mounts below can't be taken apart, mount_namespaces(7).
    deep = linux.MS_REC if os.geteuid() != 0 else 0
    linux.mount("/", str(root), "", linux.MS_BIND | deep)
    if os.path.ismount(_SECOND_CGROUP_HIERARCHY):
        linux.mount("tmpfs", _SECOND_CGROUP_HIERARCHY, "tmpfs", 0)
    namespaces = ["pid", "mount", "ipc", "uts", "cgroup"]
    system: dict[str, object] = {"cgroupsPath": f"/{nest.cgroup}"}
    if os.geteuid() != 0:
        namespaces.append("user")
        system = {
            "uidMappings": [{"containerID": 0, "hostID": os.geteuid(), "size": 1}],
            "gidMappings": [{"containerID": 0, "hostID": os.getegid(), "size": 1}],
        }
    config = {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": list(workload),
            "env": ["PATH=/usr/bin:/bin"],
            "cwd": "/",
        },
        "root": {"path": "rootfs", "readonly": True},
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
    (bundle / "config.json").write_text(json.dumps(config))
    return bundle
