"""Programs that stand side by side, started and come to the point where they have work or rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from io import FileIO

from bench.context import Bench
from bench.spawn import Child, TrialFailed, pipe, safety_net


@dataclass(frozen=True)
class Command:
    """A command line with its workload, and whether it is to be PID 1 of a new namespace."""

    argv: Sequence[str]
    pid1: bool


@dataclass(frozen=True)
class Standing:
    """A started program: its process, and our ends of its workload's stdin and stdout."""

    child: Child
    stdin: FileIO
    stdout: FileIO


def stand(
    bench: Bench, commands: Mapping[str, Command], stack: ExitStack, notes: list[str]
) -> dict[str, Standing]:
    """Start all, wait until each workload has written its first byte; `stack` ends them.

    What can't be started drops out, and a note says why.
    """
    fleet = {}
    for label, command in commands.items():
        theirs, stdin = stack.enter_context(pipe())
        stdout, writer = stack.enter_context(pipe())
        fds = {0: theirs, 1: writer}
        try:
            child = stack.enter_context(
                bench.spawner.running(command.argv, pid1=command.pid1, fds=fds)
            )
            writer.close()
            with safety_net():
                bench.spawner.hear(stdout)
        except TrialFailed as error:
            notes.append(f"{label}: dropped out: {error}")
        else:
            fleet[label] = Standing(child, stdin, stdout)
    return fleet
