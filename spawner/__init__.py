"""Make namespaces around a program, and a PID 1 that does its work: `pyspawn` as a package.

`run` and `Process` are for containers what `subprocess.run` and `subprocess.Popen` are for
processes: see docs/api.md. Names are looked up on first use (PEP 562), so that the command, which
needs none of them, doesn't pay for their imports.

A module that another thread is importing during a fork stays half imported in the child, where a
thread that needs it would wait forever. So an import holds off all forks that Python knows of.
"""

import _thread
import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from subprocess import DEVNULL as DEVNULL
    from subprocess import PIPE as PIPE
    from subprocess import STDOUT as STDOUT
    from subprocess import TimeoutExpired as TimeoutExpired

    from pyinit import __version__ as __version__
    from spawner import aio as aio
    from spawner.dryrun import PlanStep as PlanStep
    from spawner.dryrun import plan as plan
    from spawner.errors import ExecError as ExecError
    from spawner.errors import SetupError as SetupError
    from spawner.errors import SpawnerError as SpawnerError
    from spawner.errors import SpecError as SpecError
    from spawner.idmap import Extent as Extent
    from spawner.idmap import IdMap as IdMap
    from spawner.joined import JoinedProcess as JoinedProcess
    from spawner.joined import join as join
    from spawner.network import Network as Network
    from spawner.network import Publish as Publish
    from spawner.process import CalledProcessError as CalledProcessError
    from spawner.process import CompletedProcess as CompletedProcess
    from spawner.process import Process as Process
    from spawner.process import call as call
    from spawner.process import check_call as check_call
    from spawner.process import check_output as check_output
    from spawner.process import run as run
    from spawner.spec import Namespaces as Namespaces

__all__ = [
    "DEVNULL",
    "PIPE",
    "STDOUT",
    "CalledProcessError",
    "CompletedProcess",
    "ExecError",
    "Extent",
    "IdMap",
    "JoinedProcess",
    "Namespaces",
    "Network",
    "PlanStep",
    "Process",
    "Publish",
    "SetupError",
    "SpawnerError",
    "SpecError",
    "TimeoutExpired",
    "__version__",
    "call",
    "check_call",
    "check_output",
    "join",
    "plan",
    "run",
]

_HOMES = {
    "pyinit": ("__version__",),
    "subprocess": ("DEVNULL", "PIPE", "STDOUT", "TimeoutExpired"),
    "spawner.dryrun": ("PlanStep", "plan"),
    "spawner.errors": ("ExecError", "SetupError", "SpawnerError", "SpecError"),
    "spawner.idmap": ("Extent", "IdMap"),
    "spawner.joined": ("JoinedProcess", "join"),
    "spawner.network": ("Network", "Publish"),
    "spawner.process": (
        *("CalledProcessError", "CompletedProcess", "Process"),
        *("call", "check_call", "check_output", "run"),
    ),
    "spawner.spec": ("Namespaces",),
}
"""The modules that define the public names."""

no_fork = _thread.RLock()
"""Held by a thread during which no fork may happen: it imports, or opens descriptors."""


def _hold() -> None:
    no_fork.acquire()


def _meet() -> None:
    """Take, in place of `_go_on`, the exception of a signal that came during the fork.

    Python only prints it. Otherwise this thread would keep the lock, and all others would wait for
    it forever.
    """


def _go_on() -> None:
    """Release what this thread holds: nothing, if it was forking when this module was read."""
    try:  # noqa: SIM105  contextlib is more than a command needs
        no_fork.release()
    except RuntimeError:
        pass


def _anew() -> None:
    """Make the lock anew, as threading does with its own: its holder may not be here."""
    no_fork._at_fork_reinit()  # type: ignore[attr-defined]


posix.register_at_fork(before=_hold, after_in_parent=_meet, after_in_child=_anew)
posix.register_at_fork(after_in_parent=_go_on)


if not TYPE_CHECKING:  # or a checker would believe in every name

    def __getattr__(name: str) -> object:
        """Import the module behind a public name."""
        home = next((home for home, names in _HOMES.items() if name in names), "")
        if name == "aio":  # a module, which a star import doesn't bring: asyncio is large
            home = "spawner.aio"
        if not home:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        with no_fork:
            import importlib

            module = importlib.import_module(home)
            globals()[name] = value = module if name == "aio" else getattr(module, name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "aio"})
