"""Run programs in new Linux namespaces, with a PID 1 that does its job: `pyspawn` as a package.

`run` and `Process` are for containers what `subprocess.run` and `subprocess.Popen` are for
processes: see docs/api.md. Names are looked up on first use (PEP 562), so that the command, which
needs none of them, doesn't pay for their imports.
"""

from spawner.forks import no_fork

TYPE_CHECKING = False
if TYPE_CHECKING:
    from subprocess import DEVNULL as DEVNULL
    from subprocess import PIPE as PIPE
    from subprocess import STDOUT as STDOUT
    from subprocess import TimeoutExpired as TimeoutExpired

    from pyinit import __version__ as __version__
    from spawner import aio as aio
    from spawner.api.changed import Change as Change
    from spawner.api.dryrun import PlanStep as PlanStep
    from spawner.api.dryrun import plan as plan
    from spawner.api.joined import JoinedProcess as JoinedProcess
    from spawner.api.joined import join as join
    from spawner.api.process import CalledProcessError as CalledProcessError
    from spawner.api.process import CompletedProcess as CompletedProcess
    from spawner.api.process import Process as Process
    from spawner.api.process import call as call
    from spawner.api.process import check_call as check_call
    from spawner.api.process import check_output as check_output
    from spawner.api.process import run as run
    from spawner.api.resources import Resources as Resources
    from spawner.errors import ExecError as ExecError
    from spawner.errors import SetupError as SetupError
    from spawner.errors import SpawnerError as SpawnerError
    from spawner.errors import SpecError as SpecError
    from spawner.ids.idmap import Extent as Extent
    from spawner.ids.idmap import IdMap as IdMap
    from spawner.limit.limits import Limits as Limits
    from spawner.mount.files import Dir as Dir
    from spawner.mount.files import File as File
    from spawner.mount.files import Mask as Mask
    from spawner.mount.files import Mqueue as Mqueue
    from spawner.mount.files import Proc as Proc
    from spawner.mount.files import ReadOnly as ReadOnly
    from spawner.mount.files import Symlink as Symlink
    from spawner.mount.mounts import Bind as Bind
    from spawner.mount.mounts import Dev as Dev
    from spawner.mount.mounts import Mounts as Mounts
    from spawner.mount.mounts import Overlay as Overlay
    from spawner.mount.mounts import Tmpfs as Tmpfs
    from spawner.net.network import Network as Network
    from spawner.net.network import Publish as Publish
    from spawner.rights.landlock import Landlock as Landlock
    from spawner.rights.rights import Rights as Rights
    from spawner.spec import Namespaces as Namespaces

__all__ = [
    "DEVNULL",
    "PIPE",
    "STDOUT",
    "Bind",
    "CalledProcessError",
    "Change",
    "CompletedProcess",
    "Dev",
    "Dir",
    "ExecError",
    "Extent",
    "File",
    "IdMap",
    "JoinedProcess",
    "Landlock",
    "Limits",
    "Mask",
    "Mounts",
    "Mqueue",
    "Namespaces",
    "Network",
    "Overlay",
    "PlanStep",
    "Proc",
    "Process",
    "Publish",
    "ReadOnly",
    "Resources",
    "Rights",
    "SetupError",
    "SpawnerError",
    "SpecError",
    "Symlink",
    "TimeoutExpired",
    "Tmpfs",
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
    "spawner.api.dryrun": ("PlanStep", "plan"),
    "spawner.errors": ("ExecError", "SetupError", "SpawnerError", "SpecError"),
    "spawner.ids.idmap": ("Extent", "IdMap"),
    "spawner.api.changed": ("Change",),
    "spawner.api.resources": ("Resources",),
    "spawner.api.joined": ("JoinedProcess", "join"),
    "spawner.limit.limits": ("Limits",),
    "spawner.mount.mounts": ("Bind", "Dev", "Mounts", "Overlay", "Tmpfs"),
    "spawner.mount.files": (*("Dir", "File", "Mask", "Mqueue", "Proc", "ReadOnly", "Symlink"),),
    "spawner.net.network": ("Network", "Publish"),
    "spawner.rights.landlock": ("Landlock",),
    "spawner.rights.rights": ("Rights",),
    "spawner.api.process": (
        *("CalledProcessError", "CompletedProcess", "Process"),
        *("call", "check_call", "check_output", "run"),
    ),
    "spawner.spec": ("Namespaces",),
}
"""The modules that define the public names."""

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
