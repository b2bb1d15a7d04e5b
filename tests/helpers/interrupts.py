"""Interrupt a piece of code at each of the moments at which a signal handler can."""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any


def everywhere(action: Callable[[], object], *modules: str) -> Iterator[str]:
    """Call `action` again and again, each time with a SIGINT one moment later; tell at which.

    Only moments in `modules` count. It ends when `action` came to its end without an interrupt.
    """
    gc.freeze()  # collections in between look at what is new, not at all the tests there are
    try:
        yield from _one_after_another(action, modules)
    finally:
        gc.unfreeze()


def _one_after_another(action: Callable[[], object], modules: tuple[str, ...]) -> Iterator[str]:
    number = 0
    while True:
        number += 1
        profile = _Profile(number, modules)
        sys.setprofile(profile.see)
        try:
            action()
        except KeyboardInterrupt:
            pass
        finally:
            sys.setprofile(None)
        if not profile.place:
            return
        yield profile.place


class _Profile:
    def __init__(self, number: int, modules: tuple[str, ...]) -> None:
        self.left = number
        self.modules = modules
        self.place = ""

    def see(self, frame: FrameType, event: str, _: Any) -> None:
        """Interrupt where the interpreter looks for signals: functions begin, and C's end."""
        if event not in ("call", "c_return") or self.place:
            return
        if frame.f_globals.get("__name__") not in self.modules:
            return
        self.left -= 1
        if self.left == 0:
            self.place = f"{frame.f_code.co_qualname}, line {frame.f_lineno}"
            sys.setprofile(None)
            signal.raise_signal(signal.SIGINT)
