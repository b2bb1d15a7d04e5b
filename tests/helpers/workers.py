"""Helpers that are programs of their own, run side by side: each fault they find is a line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from types import ModuleType
from typing import Any


def faults(module: ModuleType, tasks: Iterable[dict[str, Any]]) -> str:
    """Run `module` once for each task, all at a time; return what they say, all of it faults."""
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", module.__name__, json.dumps(task)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for task in tasks
    ]
    found = "".join(worker.communicate()[0] for worker in workers)
    if not found:
        assert {worker.returncode for worker in workers} == {0}
    return found
