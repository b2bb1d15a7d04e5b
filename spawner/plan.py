"""From what is wanted to the steps that make it, in their order; pure.

The order is the kernel's, namespaces(7):

1. The user namespace first, since it gives the right to make the others; its maps are written from
   outside before anything else is asked of it.
2. Then the other namespaces; those of processes and of time are for children only.
3. Clock offsets before the fork, because the namespace must still be empty.
4. Mounts by the forked init, because a /proc shows the namespace of who mounts it.
5. What the program starts with, and the exec.
"""

from spawner import idmap, initpath, steps
from spawner.errors import INIT, LAUNCHER, STAGE
from spawner.linux.kernel import encode
from spawner.spec import NAMESPACES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from spawner.caller import Caller
    from spawner.spec import Spec

    Plan = tuple[steps.Step, ...]


def plan(
    spec: "Spec", caller: "Caller", *, terminal: int | None = None, notice: int | None = None
) -> "Plan":
    """Return the steps that make what `spec` wants for `caller`, in order.

    `terminal` is a descriptor of the caller's terminal if the caller is in its foreground;
    `notice` is the descriptor on which pyinit speaks to the launcher.
    """
    found = [
        *_namespaces(spec, caller),
        *_inside(spec),
        *_program(spec, caller, terminal, notice),
    ]
    return tuple(step for step in found if step.needs <= spec.namespaces.wanted)


def without(steps_left: "Sequence[steps.Step]", missing: str) -> "Plan":
    """Return the steps that are left to take where the namespace `missing` could not be had."""
    return tuple(step for step in steps_left if missing not in step.needs)


def lines(plan: "Plan") -> "Iterator[str]":
    """Yield a line for people for each step: the process that takes it, what it does, and how."""
    yield _line(LAUNCHER, "fork the stage", "fork()")
    forked = False
    for step in plan:
        if step.where == INIT and not forked:
            forked = True
            yield _line(STAGE, "fork the init", "fork()")
        yield _line(step.where, step.describe(), step.call())


def _line(where: str, what: str, how: str) -> str:
    return f"{where:8}  {what}: {how}"


def _namespaces(spec: "Spec", caller: "Caller") -> "Iterator[steps.Step]":
    """Yield what the stage does, and the launcher for it."""
    for kind in NAMESPACES:
        if kind in spec.namespaces.wanted:
            yield steps.Unshare(kind, optional=kind in spec.namespaces.optional)
        if kind == "user":
            yield steps.DenySetgroups()
            yield steps.MapIds("gid", idmap.one(spec.map_group, caller.group))
            yield steps.MapIds("uid", idmap.one(spec.map_user, caller.user))
    for clock, offset in (("monotonic", spec.monotonic), ("boottime", spec.boottime)):
        if offset is not None:
            yield steps.SetClock(clock, offset)


def _inside(spec: "Spec") -> "Iterator[steps.Step]":
    """Yield what the init does to its namespaces and to itself."""
    yield steps.MakeGroup()
    yield steps.DieWithParent()
    yield steps.MakePrivate()
    yield steps.MountProc()
    if spec.hostname is not None:
        yield steps.SetHostname(spec.hostname)
    yield steps.BringUpLoopback()
    if spec.workdir is not None:
        yield steps.ChangeDirectory(spec.workdir)
    if spec.clear_environment:
        yield steps.ClearEnvironment()
    for name, value in spec.environment:
        yield steps.SetVariable(name, value)


def _program(
    spec: "Spec", caller: "Caller", terminal: int | None, notice: int | None
) -> "Iterator[steps.Step]":
    """Yield how the init becomes the program, or the init that starts it."""
    program = [encode(word) for word in spec.arguments]
    search_path = _search_path(spec, caller)
    if spec.init == "":
        words = initpath.pyinit(
            caller.ignored, caller.mask, foreground=terminal is not None, notice=notice
        )
        yield steps.ExecInit([*map(encode, words), *program], search_path)
        return
    if terminal is not None:
        yield steps.TakeForeground(terminal)
    yield steps.RestoreSignals(caller.ignored, caller.mask)
    if spec.init is None:
        yield steps.Exec(program, search_path)
    else:
        yield steps.ExecInit([encode(spec.init), b"--", *program], search_path)


def _search_path(spec: "Spec", caller: "Caller") -> bytes | None:
    """Return the PATH that the program will have: that is where it is looked up."""
    found = None if spec.clear_environment else caller.search_path
    for name, value in spec.environment:
        if name == "PATH":
            found = encode(value)
    return found
