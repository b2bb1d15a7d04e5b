"""Return the steps that would make a container, as data: what `pyspawn --dry-run` prints.

The launcher itself plans them, since it alone sees the host as it will when it takes them: in a
process of its own, whose threads and privileges aren't the caller's.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from typing import TYPE_CHECKING, NamedTuple

from spawner import lean
from spawner.api import keywords, ties, words
from spawner.api.child import Forked
from spawner.errors import LAUNCHER, SetupError

if TYPE_CHECKING:
    from typing import Unpack

    from spawner.api.signatures import Command, Options


class PlanStep(NamedTuple):
    """A step: the `process` that takes it, `what` the step does in words, and its system `call`.

    As text it is the line of --dry-run.
    """

    process: str
    what: str
    call: str

    def __str__(self) -> str:
        return f"{self.process:8}  {self.what}: {self.call}"


def plan(args: Command, **options: Unpack[Options]) -> tuple[PlanStep, ...]:
    """Return the steps that `run` with the same arguments would take, in order, without taking any.

    The `options` are those of `Process`. Raises SpecError and TypeError for what makes no sense,
    and SetupError for what can be seen beforehand not to work: ids that may not be mapped, a helper
    that isn't installed.
    """
    words.check_names("plan", options)
    line = words.command(args, options)
    descriptors = keywords.inherited(options)
    with contextlib.closing(ties.Report()) as report:
        told = (f"--json-status={report.end}", "--dry-run=json")
        with Forked(
            [*lean.pyspawn(), *told, *line],
            stdin=None if options.get("stdin") is None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env=options.get("env"),
            pass_fds=(*descriptors, report.end),
        ) as launcher:
            report.launched()
            printed, _ = launcher.communicate()
        report.update()
        if "failed" in report.events:
            raise ties.failure(report.events["failed"])
    if launcher.returncode != 0:
        status = launcher.returncode
        raise SetupError(f"the launcher ended early, with status {status}", stage=LAUNCHER)
    return tuple(PlanStep(**json.loads(line)) for line in printed.splitlines())
