"""containerd, as a Kubernetes node drives it: through the Container Runtime Interface (CRI).

Each container gets a pod (a sandbox) of its own. The pod's namespaces are the host's network (so
no network plugin is needed), and either a PID namespace for each container, where the image's
entrypoint is PID 1, or one that all share, where the pod's pause container is: `pyinit --pause`.

The log of a container is a FIFO that we hold open: so its lines arrive as they are written.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
from cri_api.v1 import api_pb2 as cri
from cri_api.v1 import api_pb2_grpc as services

from enginetest import cgroups
from enginetest.client import image
from enginetest.daemon import Daemon
from enginetest.engine import Order, RefusalError
from enginetest.findings import Init
from enginetest.reading import SAFETY_NET, LineReader, WaitError, eventually
from enginetest.running import CommandError, succeed
from enginetest.terminal import Terminal
from enginetest.websocket import Attached

PAUSE = "pause"
"""The image that holds each pod's namespaces, images/pause.Dockerfile."""

PATIENCE = 60
"""Seconds for a call to containerd: a safety net."""

PROBE_TIMEOUT = 2
"""Seconds that a health check is given: enough for it to begin to hang."""

CONFIG = """\
version = 2
root = "{state}/root"
state = "{run}/state"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  disable_apparmor = true
  sandbox_image = "{pause}"
  stream_server_address = "127.0.0.1"
"""


def log_text(line: str) -> str:
    """Return the text of a line of a container's log: `TIME STREAM TAG TEXT`."""
    return line.split(" ", 3)[3] if line.count(" ") >= 3 else line


class Containerd:
    """containerd through the CRI."""

    name = "containerd (CRI)"
    inits: tuple[Init, ...] = (Init.PYINIT, Init.NONE, Init.PAUSE)

    def __init__(self, state: Path, run: Path, group: str) -> None:
        self.state = state
        self.run = run
        self.group = group
        self.socket = run / "containerd.sock"
        self._daemon: Daemon | None = None
        self._counter = itertools.count(1)
        self._lock = threading.Lock()

    def set_up(self, *, images: Path) -> None:
        """Start containerd and import an archive of images, since it has no builder."""
        for directory in (self.state, self.run):
            directory.mkdir(parents=True, exist_ok=True)
        config = self.state / "config.toml"
        config.write_text(
            CONFIG.format(state=self.state, run=self.run, socket=self.socket, pause=image(PAUSE))
        )
        self._daemon = Daemon(
            ["/usr/bin/containerd", "--config", str(config)], self.state / "containerd.log"
        )
        self._daemon.wait_until(self.socket.exists)
        channel = grpc.insecure_channel(f"unix://{self.socket}")
        self.runtime: Any = services.RuntimeServiceStub(channel)
        self.images: Any = services.ImageServiceStub(channel)
        self._daemon.wait_until(self._ready)
        succeed(
            "ctr", "--address", self.socket, "--namespace", "k8s.io", "images", "import", images
        )

    def _ready(self) -> bool:
        try:
            status = self.runtime.Status(cri.StatusRequest(), timeout=PATIENCE).status
        except grpc.RpcError:
            return False
        return all(condition.status for condition in status.conditions)

    def version(self) -> str:
        """Say the version of containerd and of the interface."""
        said = self.runtime.Version(cri.VersionRequest(), timeout=PATIENCE)
        return f"{said.runtime_name} {said.runtime_version}, CRI {said.runtime_api_version}, runc"

    def size(self, name: str) -> int:
        """Return the bytes of an image as containerd keeps it: the archive's layers."""
        asked = cri.ImageStatusRequest(image=cri.ImageSpec(image=image(name)))
        return int(self.images.ImageStatus(asked, timeout=PATIENCE).image.size)

    def start(self, order: Order) -> PodContainer:
        """Start a container in a pod of its own; raises RefusalError."""
        container = self.make(order)
        try:
            container.begin()
        except grpc.RpcError as error:
            container.remove()
            raise RefusalError(error.details()) from None
        return container

    def make(self, order: Order, *, terminal: bool = False) -> PodContainer:
        """Make a pod and a container in it, not started yet; raises RefusalError."""
        with self._lock:
            number = next(self._counter)
        try:
            return PodContainer(self, f"promise-{number}", order, terminal)
        except grpc.RpcError as error:
            raise RefusalError(error.details()) from None

    def lifetime(self, order: Order) -> float:
        """Return the seconds from the call that starts it to its end, by containerd's clock."""
        container = self.make(order)
        try:
            started = time.time_ns()
            container.begin()
            container.wait()
            return float(container.status().finished_at - started) / 1e9
        finally:
            container.remove()

    @contextlib.contextmanager
    def converse(self, order: Order) -> Iterator[PodConversation]:
        """Start a container with a terminal and attach to it, as `kubectl run -it` does."""
        container = self.make(order, terminal=True)
        try:
            container.begin()
            asked = cri.AttachRequest(container_id=container.id, stdin=True, stdout=True, tty=True)
            line = Attached(self.runtime.Attach(asked, timeout=PATIENCE).url)
            try:
                yield PodConversation(container, Terminal(line))
            finally:
                line.close()
        except grpc.RpcError as error:
            raise RefusalError(error.details()) from None
        finally:
            container.remove()

    def tear_down(self) -> None:
        """End every pod and containerd."""
        if self._daemon is None:
            return
        with contextlib.suppress(grpc.RpcError):
            pods = self.runtime.ListPodSandbox(cri.ListPodSandboxRequest(), timeout=PATIENCE)
            for pod in pods.items:
                self.runtime.RemovePodSandbox(
                    cri.RemovePodSandboxRequest(pod_sandbox_id=pod.id), timeout=PATIENCE
                )
        self._daemon.end()


class PodContainer:
    """A container alone in its pod."""

    def __init__(self, engine: Containerd, name: str, order: Order, terminal: bool) -> None:
        self._engine = engine
        self._order = order
        logs = engine.state / name
        logs.mkdir()
        group = f"{engine.group}/{name}"
        if order.pids_limit:
            # As the kubelet does: the limit is on the pod's cgroup.
            cgroups.limit_processes(group, order.pids_limit)
        pid = cri.POD if order.init is Init.PAUSE else cri.CONTAINER
        namespaces = cri.NamespaceOption(network=cri.NODE, pid=pid, ipc=cri.POD)
        around = cri.LinuxSandboxSecurityContext(
            namespace_options=namespaces, privileged=order.privileged
        )
        sandbox = cri.PodSandboxConfig(
            metadata=cri.PodSandboxMetadata(name=name, uid=name, namespace="default"),
            log_directory=str(logs),
            linux=cri.LinuxPodSandboxConfig(
                cgroup_parent=f"/{group}",
                security_context=around,
            ),
        )
        self.pod = engine.runtime.RunPodSandbox(
            cri.RunPodSandboxRequest(config=sandbox), timeout=PATIENCE
        ).pod_sandbox_id
        self._log = -1
        if not terminal:
            log = logs / "log"
            os.mkfifo(log)
            self._log = os.open(log, os.O_RDWR)
            self._lines = LineReader(self._log, name)
        security = cri.LinuxContainerSecurityContext(
            namespace_options=namespaces, privileged=order.privileged
        )
        if order.hardening:
            security.run_as_user.value = order.hardening.uid
            security.run_as_group.value = order.hardening.gid
            security.readonly_rootfs = True
            security.no_new_privs = True
            security.capabilities.drop_capabilities.append("ALL")
        wanted = cri.ContainerConfig(
            metadata=cri.ContainerMetadata(name="app"),
            image=cri.ImageSpec(image=image(order.image)),
            args=order.command,
            log_path="" if terminal else "log",
            stdin=terminal,
            tty=terminal,
            linux=cri.LinuxContainerConfig(security_context=security),
        )
        try:
            self.id = engine.runtime.CreateContainer(
                cri.CreateContainerRequest(
                    pod_sandbox_id=self.pod, config=wanted, sandbox_config=sandbox
                ),
                timeout=PATIENCE,
            ).container_id
        except grpc.RpcError:
            self.remove()
            raise

    def begin(self) -> None:
        """Start it; raises grpc.RpcError."""
        asked = cri.StartContainerRequest(container_id=self.id)
        self._engine.runtime.StartContainer(asked, timeout=PATIENCE)

    def line(self) -> str | None:
        """Return the next line that it logged, or None once it has ended without another.

        The FIFO never ends, since we hold both its ends.
        """
        deadline = time.monotonic() + SAFETY_NET
        while True:
            ended = self.status().state == cri.CONTAINER_EXITED
            try:
                line = self._lines.line(patience=1)
            except WaitError:
                if ended:
                    return None
                if time.monotonic() > deadline:
                    raise
            else:
                return None if line is None else log_text(line)

    def stop(self, seconds: int = 10) -> None:
        """Stop it, with a grace period as the kubelet gives one."""
        asked = cri.StopContainerRequest(container_id=self.id, timeout=seconds)
        self._engine.runtime.StopContainer(asked, timeout=PATIENCE)

    def status(self) -> Any:
        """Return what containerd knows of it."""
        asked = cri.ContainerStatusRequest(container_id=self.id)
        return self._engine.runtime.ContainerStatus(asked, timeout=PATIENCE).status

    def wait(self) -> int:
        """Wait for its end and return its exit status."""

        def ended() -> bool:
            return bool(self.status().state == cri.CONTAINER_EXITED)

        eventually(ended, "the container's end")
        return int(self.status().exit_code)

    def execute(self, argv: Sequence[str]) -> tuple[int, str]:
        """Run a command in it."""
        asked = cri.ExecSyncRequest(container_id=self.id, cmd=argv, timeout=PATIENCE)
        try:
            said = self._engine.runtime.ExecSync(asked, timeout=PATIENCE)
        except grpc.RpcError as error:
            raise CommandError(f"exec: {error.details()}") from None
        return int(said.exit_code), said.stdout.decode(errors="replace")

    def check_health(self) -> None:
        """Run its health check twice into a time-out, as the kubelet runs an exec probe."""
        for _ in range(2):
            asked = cri.ExecSyncRequest(
                container_id=self.id, cmd=self._order.health_check, timeout=PROBE_TIMEOUT
            )
            try:
                self._engine.runtime.ExecSync(asked, timeout=PATIENCE)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                    raise CommandError(f"health check: {error.details()}") from None
            else:
                raise CommandError("the health check did not time out")

    def complaint(self) -> str:
        """Return why containerd says it ended."""
        return str(self.status().reason)

    def remove(self) -> None:
        """Remove the pod with it."""
        for ask, request in (
            ("StopPodSandbox", cri.StopPodSandboxRequest(pod_sandbox_id=self.pod)),
            ("RemovePodSandbox", cri.RemovePodSandboxRequest(pod_sandbox_id=self.pod)),
        ):
            with contextlib.suppress(grpc.RpcError):
                getattr(self._engine.runtime, ask)(request, timeout=PATIENCE)
        if self._log >= 0:
            os.close(self._log)
            self._log = -1


class PodConversation:
    """A container that we are attached to."""

    def __init__(self, container: PodContainer, terminal: Terminal) -> None:
        self._container = container
        self.terminal = terminal

    def wait(self) -> int:
        """Return its exit status."""
        return self._container.wait()
