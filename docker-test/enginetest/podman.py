"""podman, as root and as an ordinary user, with storage and configuration of our own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from enginetest import cgroups
from enginetest.client import PROBE_TIMEOUT, ClientContainer, ClientEngine, image
from enginetest.engine import Order
from enginetest.running import CommandError, complete, succeed

STORAGE = """\
[storage]
driver = "overlay"
graphroot = "{state}/storage"
runroot = "{run}/storage"
"""

# The limits are given since podman would raise them otherwise, which takes CAP_SYS_RESOURCE.
CONTAINERS = """\
[containers]
netns = "none"
default_ulimits = ["nofile={nofile}:{nofile}", "nproc={nproc}:{nproc}"]
[engine]
cgroup_manager = "cgroupfs"
runtime = "runc"
events_logger = "file"
infra_image = "{pause}"
tmp_dir = "{run}/libpod"
"""


class Podman(ClientEngine):
    """podman run by root."""

    name = "podman"

    def __init__(self, state: Path, run: Path, group: str) -> None:
        super().__init__(state)
        self.run = run
        self.group = group
        self.run_options = ("--pull=never", "--cgroup-parent", f"/{group}")
        # Steps of a build run in that cgroup itself, whose devices can't be denied while it has
        # containers below it.
        self.build_options = ("--pull=never", "--cgroup-parent", f"/{group}/build")

    def client(self) -> list[str]:
        """Podman is one program."""
        return ["podman", "--log-level", "error"]

    def environment(self) -> dict[str, str]:
        """Point podman to configuration and storage of our own."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.state),
            "TMPDIR": str(self.state / "tmp"),
            "TERM": "xterm",
            "XDG_RUNTIME_DIR": str(self.run),
            "CONTAINERS_STORAGE_CONF": str(self.state / "storage.conf"),
            "CONTAINERS_CONF": str(self.state / "containers.conf"),
        }

    def set_up(self, *, archive: Path, context: Path) -> None:
        """Write the configuration and import the base image."""
        for directory in (self.state / "tmp", self.run):
            directory.mkdir(parents=True, exist_ok=True)
        places = {"state": self.state, "run": self.run}
        (self.state / "storage.conf").write_text(STORAGE.format(**places))
        (self.state / "containers.conf").write_text(
            CONTAINERS.format(
                **places, pause=image("pause"), nofile=_limit("NOFILE"), nproc=_limit("NPROC")
            )
        )
        self.import_base(archive, context)

    def version(self) -> str:
        """Say the versions of podman and of its runtime."""
        facts = "{{.Version.Version}}, {{.Host.OCIRuntime.Name}}, cgroup {{.Host.CgroupsVersion}}"
        return f"podman {self.cli('info', '--format', facts).strip()}"

    def health_words(self, command: Sequence[str]) -> list[str]:
        """Have the check run when asked for: to run it on a timer podman needs systemd.

        The check ends itself by timeout(1), since this podman only notes that it took too long.
        """
        words = " ".join(["timeout", PROBE_TIMEOUT, *command])
        return ["--health-cmd", words, "--health-interval", "disable"]

    def check_health(self, name: str) -> None:
        """Run the check twice."""
        for _ in range(2):
            if self.try_cli("healthcheck", "run", name).returncode == 0:
                raise CommandError("the health check did not time out")

    def save(self, names: Sequence[str], archive: Path) -> None:
        """Write images into an archive for another engine."""
        self.cli(
            *("save", "--multi-image-archive", "--format", "docker-archive"),
            *("--output", str(archive), *map(image, names)),
        )

    def tear_down(self) -> None:
        """End every container that is left."""
        self.try_cli("rm", "--all", "--force", "--time", "0")


class RootlessPodman(Podman):
    """podman run by a user without any privilege."""

    name = "rootless podman"

    def __init__(self, state: Path, run: Path, group: str, user: str) -> None:
        super().__init__(state, run, group)
        self.user = user
        self.run_options = ("--pull=never",)
        self.build_options = ("--pull=never",)

    def client(self) -> list[str]:
        """Become the user first."""
        return [
            *("setpriv", "--reuid", self.user, "--regid", self.user, "--init-groups"),
            *super().client(),
        ]

    def set_up(self, *, archive: Path, context: Path) -> None:
        """Give the user its directories first."""
        for directory in (self.state, self.state / "tmp", self.run):
            directory.mkdir(parents=True, exist_ok=True)
            shutil.chown(directory, self.user, self.user)
        super().set_up(archive=archive, context=context)

    def start(self, order: Order) -> ClientContainer:
        """Put a container that is to be limited into a cgroup between its making and its start.

        An ordinary user has no cgroup of its own on cgroup v1, where podman ignores limits.
        """
        if not order.pids_limit:
            return super().start(order)
        name = self.next_name()
        words = self.words(order, name)
        words[words.index("run")] = "create"
        succeed(*words, env=self.environment())
        self.cli("init", name)
        pid = self.cli("inspect", "--format", "{{.State.Pid}}", name).strip()
        group = cgroups.limit_processes(f"{self.group}/{name}", order.pids_limit)
        (group / "cgroup.procs").write_text(pid)
        return self.attach([*self.client(), "start", "--attach", "--sig-proxy=false", name], name)

    def limit_words(self, limit: int) -> list[str]:
        """Give no option: the limit is set on the cgroup."""
        return []


def _limit(name: str) -> str:
    """Return the hard limit that this process is under, at most a number that serves."""
    command = ["sh", "-c", "ulimit -H -n" if name == "NOFILE" else "ulimit -H -u"]
    said = complete(command).stdout.strip()
    most = 20000
    return str(min(int(said), most)) if said.isdigit() else str(most)
