"""Machines that a test makes up, to ask why their kernel refused."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable

from helpers.specs import specified
from spawner.errors import STAGE, SetupError, unmarked
from spawner.spec import NAMESPACES, Namespaces, Spec
from spawner.why import rules
from spawner.why.evidence import Host

NO_CAPS = "0" * 16
ALL_CAPS = "000001ffffffffff"


class Fake(Host):
    """A machine as an ordinary user sees it, where nothing is wrong; tests change that."""

    def __init__(self, uid: int = 1000, **status: str) -> None:
        self.own = 4242
        self.files: dict[str, str] = {
            "/proc/self/uid_map": "         0          0 4294967295\n",
            "/proc/self/gid_map": "         0          0 4294967295\n",
            "/proc/self/cgroup": "0::/user.slice/run-1\n",
        }
        for kind in NAMESPACES:
            self.limit(kind, 96365)
        self.links = {"/proc/self": str(self.own), "/proc/self/exe": "/usr/bin/python3.11"}
        self.stats: dict[str, os.stat_result | int] = {}
        self.add("/proc/self/ns")
        for kind in [*NAMESPACES, "pid_for_children", "mnt"]:
            self.links[f"/proc/self/ns/{kind}"] = f"{kind.partition('_')[0]}:[1]"
            self.add(f"/proc/self/ns/{kind}", stat.S_IFLNK | 0o777)
        self.add("/")
        self.add("/proc")
        self.mounts("25 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw",
                    "26 25 0:22 / /proc rw,nosuid - proc proc rw",
                    "27 26 0:30 / /proc/sys/fs/binfmt_misc rw - autofs systemd-1 rw",
                    "28 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw")  # fmt: skip
        self.status = {
            "Uid": "\t".join([str(uid)] * 4),
            "Gid": "\t".join([str(uid)] * 4),
            "CapEff": NO_CAPS if uid else ALL_CAPS,
            "NoNewPrivs": "0",
            "Seccomp": "0",
        } | status

    def limit(self, kind: str, value: int) -> None:
        kind = "mnt" if kind == "mount" else kind
        self.files[f"/proc/sys/user/max_{kind}_namespaces"] = f"{value}\n"

    def mounts(self, *lines: str) -> None:
        self.files["/proc/self/mountinfo"] = "".join(f"{line}\n" for line in lines)

    def mounted(self, line: str) -> None:
        self.files["/proc/self/mountinfo"] += f"{line}\n"

    def add(self, path: str, mode: int = stat.S_IFDIR | 0o755, uid: int = 0, gid: int = 0) -> None:
        self.stats[path] = os.stat_result((mode, len(self.stats), 1, 1, uid, gid, 0, 0, 0, 0))

    def pid(self) -> int:
        return self.own

    def read(self, path: str) -> str | None:
        if path == "/proc/self/status":
            return "".join(f"{name}:\t{value}\n" for name, value in self.status.items())
        return self.files.get(path)

    def link(self, path: str) -> str | None:
        return self.links.get(path)

    def stat(self, path: str) -> os.stat_result | int:
        return self.stats.get(path, errno.ENOENT)


def spec(*kinds: str, **more: object) -> Spec:
    return specified(["true"], namespaces=Namespaces(kinds), **more)  # type: ignore[arg-type]


DEFAULTS = ("user", "pid", "mount", "ipc", "uts", "cgroup")
ROOTS = DEFAULTS[1:]


def failed(
    number: int,
    syscall: str,
    step: str = "make the namespaces",
    path: str | None = None,
    stage: str = STAGE,
) -> SetupError:
    return SetupError(step, stage=stage, syscall=syscall, errno=number, path=path)


def why(host: Host, error: SetupError, kinds: Iterable[str] = DEFAULTS, **more: object) -> str:
    """Return the explanation, after checking that it is one line and one sentence."""
    found = unmarked(rules.why(error, spec(*kinds, **more), host) or "")
    assert found
    assert found.isprintable()
    assert not found.endswith(".")
    assert found[0] not in " :"
    return found


OFFSETS = "/proc/self/timens_offsets"
