"""Rebuild a traceback from what faulthandler wrote about the main thread of a hanging process.

The frames are stand-ins: they have the file, the line and the name of those over there, and none of
their variables. So whatever shows tracebacks shows the lines in its own way.
"""

from __future__ import annotations

import itertools
import os
import re
import sys
from types import FunctionType, TracebackType
from typing import TYPE_CHECKING, NamedTuple

from spawner import lean

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import CodeType, FrameType

_LINE = re.compile(r'  File "(?P<file>.*)", line (?P<line>\d+) in (?P<name>.*)')
_ESCAPED = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))")


class Place(NamedTuple):
    """A frame's file, line and function name."""

    file: str
    line: int
    name: str


def read(dump: bytes) -> list[Place]:
    """Return the stack of the main thread, the outermost call first; empty where there is none.

    faulthandler begins with the latest thread, and in each with the innermost call.
    """
    thread: list[Place] = []
    latest: list[Place] = []
    for line in dump.decode("ascii", "replace").splitlines():
        if found := _LINE.fullmatch(line):
            place = Place(_plain(found["file"]), int(found["line"]), _plain(found["name"]))
            latest.insert(0, place)
            thread = latest
        elif "most recent call first" in line:
            latest = []
    return thread


def _plain(text: str) -> str:
    """Return text with faulthandler's escapes for non-ASCII characters decoded."""
    return _ESCAPED.sub(lambda found: chr(int(next(filter(None, found.groups())), 16)), text)


def within(stack: Sequence[Place], code: CodeType) -> list[Place]:
    """Return the frames of a fork's stack below `code`, without those of this package.

    Where `code` is on our own stack too, it is the call after those.
    """
    before = 0
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        before += frame.f_code is code
        frame = frame.f_back
    for position, place in enumerate(stack):
        if (place.file, place.name) == (code.co_filename, code.co_name):
            if not before:
                return [*itertools.dropwhile(_is_ours, stack[position + 1 :])]
            before -= 1
    return []


def _is_ours(place: Place) -> bool:
    return place.file.startswith(os.path.join(lean.HERE, "spawner", ""))


def rebuilt(stack: Sequence[Place]) -> TracebackType | None:
    """Return a traceback that shows these frames, the outermost call first."""
    trace = None
    for place in reversed(stack):
        # Without an instruction it has no columns, of which nothing is known.
        trace = TracebackType(trace, _frame(place), -1, place.line)
    return trace


def _frame(place: Place) -> FrameType:
    """Return a frame of generated code with that file name and function name."""
    code = compile("keep(here())", place.file, "exec")
    code = code.replace(co_name=place.name, co_firstlineno=place.line)
    frames: list[FrameType] = []
    names: dict[str, Callable[..., object]] = {"keep": frames.append, "here": sys._getframe}
    FunctionType(code, names)()
    names.clear()
    return frames.pop()
