"""Launch containers on kernels that refuse a call, one a line of JSON, and tell how it went.

Run as a program of its own, since a launch takes over the process: signals, children, descriptors.
The namespaces are pretended (`kernels.Faulty`), the processes are real; so no rights are needed.
"""

from __future__ import annotations

import _signal
import json
import os
import sys
from pathlib import Path
from typing import Any

from helpers import children, kernels
from helpers.specs import specified
from spawner import caller
from spawner.errors import INIT, SpawnerError
from spawner.joining.target import Joins
from spawner.launch import Launch
from spawner.made import Observer
from spawner.spec import Namespaces


class Events(Observer):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def missing(self, refused: dict[str, int]) -> None:
        self.seen.append("missing " + " ".join(sorted(refused)))

    def created(self, pid: int, namespaces: dict[str, int]) -> None:
        self.seen.append("created")

    def started(self) -> None:
        self.seen.append("started")


class Late(kernels.Faulty):
    """A kernel on which who forks goes on only once the init has ended, or runs the program."""

    def fork(self, child: str) -> int:
        pid = super().fork(child)
        if pid and child == INIT:
            own = _name(os.getpid())
            children.wait_until(lambda: children.state(pid) == "Z" or _name(pid) != own)
        return pid


class Lost(kernels.Faulty):
    """A kernel on which a stage is killed once it has forked the init."""

    launcher = 0

    def fork(self, child: str) -> int:
        pid = super().fork(child)
        if pid and child == INIT and os.getpid() != self.launcher:
            os.kill(os.getpid(), _signal.SIGKILL)
        return pid


def launch(case: dict[str, Any]) -> dict[str, Any]:
    """Launch what `case` says; return how it ended and what was left."""
    mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
    refused = case["refused"]
    if "joins" in case["more"]:
        case["more"]["joins"] = Joins(**case["more"]["joins"])
    spec = specified(
        case["arguments"],
        namespaces=Namespaces(case["required"], case["optional"]),
        init=case["init"],
        **case["more"],
    )
    before = kernels.open_descriptors()
    events = Events()
    kinds = {"late": Late, "lost": Lost}
    kernel = kinds.get(case.get("how"), kernels.Faulty)(None if refused is None else tuple(refused))
    Lost.launcher = os.getpid()
    run = Launch(kernel, spec, caller.look(mask), events, spared=before)
    told: dict[str, Any] = {"error": None, "status": None}
    try:
        told["status"] = run.run().status
    except SpawnerError as error:
        told["error"] = str(error)
        fields = ("stage", "syscall", "errno", "path", "status")
        told |= {name: getattr(error, name, None) for name in fields}
    told["events"] = events.seen
    told["left"] = sorted(pid for pid in children.of(os.getpid()) if not _is_orphan(pid, case))
    told["open"] = sorted(kernels.open_descriptors() - before)
    return told


def _is_orphan(pid: int, case: dict[str, Any]) -> bool:
    """Tell whether a process is the program, left by a pyinit that was killed.

    The end of the PID namespace would have taken it along, but that is only pretended.
    """
    if case.get("how") == "lost":
        return not children.wait_gone([pid])  # an init of which nobody knows
    if case["init"] != "":
        return False
    children.wait_state(pid, "Z")
    return _name(pid) == os.path.basename(case["arguments"][0])


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().rstrip("\n")


def main() -> None:
    """Answer each line of standard input by one on standard output."""
    children.become_subreaper()
    for line in sys.stdin:
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.write(writer, json.dumps(launch(json.loads(line))).encode())
            finally:
                os._exit(0)
        os.close(writer)
        answer = os.read(reader, 65536) or b"{}"
        os.close(reader)
        os.waitpid(pid, 0)
        # What comes to us now had outlived its launcher.
        told = json.loads(answer) | {"orphans": children.settle(())}
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
