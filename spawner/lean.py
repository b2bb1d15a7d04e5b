"""The command lines that start pyinit and `pyspawn` fastest."""

import sys

from pyinit import signal_bits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

HERE = __file__.rpartition("/")[0].rpartition("/")[0]
"""The directory that holds both packages."""


def interpreter() -> str:
    """Return the path of our interpreter, without `..`, and so without what lies on that way.

    One that was started as `../.venv/bin/python3` is found where only its own directory is.
    """
    if "/../" not in sys.executable:
        return sys.executable
    from spawner.host import interpreters

    return interpreters.direct(sys.executable)


def lean(code: str) -> list[str]:
    """Return the argv of an interpreter that finds both packages and runs `code`, and little else.

    A script file would be compiled anew at each start, and `-m` goes through runpy (5 ms).
    """
    start = f"import sys;sys.path[:0]=[{HERE!r}];{code}"
    return [interpreter(), "-I", "-S", "-X", "utf8", "-c", start]


def pyspawn() -> list[str]:
    """Return the argv, without options, that starts `pyspawn` fastest."""
    return lean("from spawner.__main__ import main;main()")


def pyinit(
    ignored: "Iterable[int]",
    mask: "Iterable[int]",
    *,
    foreground: bool,
    notice: int | None,
) -> list[str]:
    """Return the argv of pyinit, up to the program, with the handover (docs/architecture.md).

    `notice` is the descriptor on which pyinit tells what happens, if any.
    """
    handover = f"mask={signal_bits(mask):x},ignored={signal_bits(ignored):x}"
    handover += f",foreground={foreground:d}"
    if notice is not None:
        handover += f",notice={notice}"
    # All signals are blocked already: what else `pyinit.__main__` does.
    start = "import gc;gc.disable();from pyinit.cli import main;main(set(),set())"
    return [*lean(start), f"--handover={handover}", "--"]
