"""Exec a lean interpreter if pyinit was started in a full one (`python -m`, a script)."""

import posix
import sys

from pyinit import child, coercion

START = (
    "import _signal as s;m=s.pthread_sigmask(s.SIG_BLOCK,s.valid_signals());"
    "import gc,sys;gc.disable();sys.path[:0]=[{directory!r}];"
    "from pyinit.cli import main;main(m,set())"
)
"""The code that a lean interpreter runs, docs/start-up.md.

It does what `pyinit.__main__` does, without a module to be found: a tenth of a millisecond less in
which PID 1 loses signals.
"""


def lean(words: list[bytes], handover: child.Handover) -> None:
    """Execute pyinit under `python -I -S` with `words`; return only if that is impossible.

    Without this, pyinit would work too, but slower and larger by what `site` imports.
    """
    if not sys.executable:
        return
    directory = __file__.rpartition("/")[0].rpartition("/")[0]
    start = ["-I", "-S", "-X", "utf8", "-c", START.format(directory=directory)]
    coercion.undo()
    arguments = [sys.executable.encode("utf-8", "surrogateescape")]
    arguments += [word.encode("utf-8", "surrogateescape") for word in start]
    try:
        posix.execv(sys.executable, [*arguments, child.HANDOVER + str(handover).encode(), *words])
    except OSError:
        return
