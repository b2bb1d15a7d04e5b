"""Packages that lie in the checkout beside what is installed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path


def load(place: Path) -> None:
    """Make the package in `place` importable without its parent, which holds more, on the path."""
    name = place.name
    spec = importlib.util.spec_from_file_location(
        name, place / "__init__.py", submodule_search_locations=[str(place)]
    )
    assert spec
    assert spec.loader
    package = importlib.util.module_from_spec(spec)
    sys.modules[name] = package
    spec.loader.exec_module(package)
