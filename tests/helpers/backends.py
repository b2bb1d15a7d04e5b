"""A process beside the container that does what a test says."""

from __future__ import annotations

from collections.abc import Callable

from spawner.linux import Kernel
from spawner.net.aside import Backend, Ends
from spawner.net.network import Network


class Acting(Backend):
    """A backend whose process does what a test says."""

    def __init__(self, act: Callable[[Ends], object]) -> None:
        super().__init__(Network("pasta"))
        self._act = act

    def _serve(self, kernel: Kernel, ends: Ends, launcher: int) -> None:
        self._act(ends)

    def start(self, *words: str) -> None:
        self._send(words)
        self._await()
