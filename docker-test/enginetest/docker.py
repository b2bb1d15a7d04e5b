"""Docker, with a daemon of our own: its own state, no bridge, no packet filter."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from enginetest.client import PROBE_TIMEOUT, ClientEngine
from enginetest.daemon import Daemon
from enginetest.reading import eventually


class Docker(ClientEngine):
    """Docker through its own client."""

    name = "docker"

    def __init__(self, state: Path, run: Path, group: str) -> None:
        super().__init__(state)
        self.run = run
        self.group = group
        self.socket = run / "docker.sock"
        self._daemon: Daemon | None = None

    def client(self) -> list[str]:
        """Debian's client: another program may have that name on PATH."""
        return ["/usr/bin/docker", "--host", f"unix://{self.socket}"]

    def environment(self) -> dict[str, str]:
        """Ask for the classic builder: the other is not part of Debian's package."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.state),
            "TERM": "xterm",
            "DOCKER_BUILDKIT": "0",
        }

    def surroundings(self) -> dict[str, str]:
        """Return the environment in which `docker`, as people type it, is this one."""
        return self.environment() | {"DOCKER_HOST": f"unix://{self.socket}"}

    def set_up(self, *, archive: Path, context: Path) -> None:
        """Start the daemon and import the base image."""
        for directory in (self.state, self.run):
            directory.mkdir(parents=True, exist_ok=True)
        settings = {
            "hosts": [f"unix://{self.socket}"],
            "data-root": str(self.state / "data"),
            "exec-root": str(self.run / "exec"),
            "pidfile": str(self.run / "docker.pid"),
            "cgroup-parent": f"/{self.group}",
            "exec-opts": ["native.cgroupdriver=cgroupfs"],
            "bridge": "none",
            "iptables": False,
            "ip6tables": False,
            "ip-forward": False,
        }
        config = self.state / "daemon.json"
        config.write_text(json.dumps(settings))
        self._daemon = Daemon(
            ["/usr/sbin/dockerd", "--config-file", str(config)], self.state / "dockerd.log"
        )
        self._daemon.wait_until(lambda: self.try_cli("version").returncode == 0)
        self.import_base(archive, context)

    def version(self) -> str:
        """Say the versions of the daemon and what it uses."""
        facts = "{{.ServerVersion}}, {{.DefaultRuntime}}, cgroup {{.CgroupVersion}}"
        return f"docker {self.cli('info', '--format', facts).strip()}"

    def health_words(self, command: Sequence[str]) -> list[str]:
        """Have the daemon run the check every second.

        The check ends itself by timeout(1): this Docker lets one that takes longer than the
        daemon's own time-out go on for ever.
        """
        words = " ".join(["timeout", PROBE_TIMEOUT, *command])
        return ["--health-cmd", words, "--health-retries", "2", "--health-interval", "1s"]

    def check_health(self, name: str) -> None:
        """Wait until the daemon calls the container unhealthy: two checks have failed."""

        def unhealthy() -> bool:
            return "unhealthy" in self.cli("inspect", "--format", "{{.State.Health.Status}}", name)

        eventually(unhealthy, f"{name} unhealthy")

    def tear_down(self) -> None:
        """End the containers and the daemon."""
        if self._daemon is None:
            return
        left = self.try_cli("ps", "--all", "--quiet").stdout.split()
        if left:
            self.try_cli("rm", "--force", *left)
        self._daemon.end()
