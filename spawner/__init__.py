"""Make namespaces around a program, and a PID 1 that does its work: `pyspawn` as a package.

Names are looked up on first use (PEP 562), so that the command, which needs none of them, doesn't
pay for their imports.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from spawner.errors import ExecError as ExecError
    from spawner.errors import SetupError as SetupError
    from spawner.errors import SpawnerError as SpawnerError
    from spawner.errors import SpecError as SpecError

_HOMES = {
    "ExecError": "spawner.errors",
    "SetupError": "spawner.errors",
    "SpawnerError": "spawner.errors",
    "SpecError": "spawner.errors",
}
"""The public names, and the modules that define them."""

__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    """Import the module behind a public name."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
