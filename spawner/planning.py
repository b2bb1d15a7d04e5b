"""Plan the steps that make a container: `find` looks at the host, the rest is pure.

The order is the kernel's, namespaces(7):

1. The user namespace first, since it gives the right to make the others; its maps are written from
   outside before anything else is asked of it. A process that has entered one can't come back, so
   this takes a process of its own, the stage.
2. Then those of processes and of time, which are for children only: by whoever forks the init.
   Clock offsets come before that fork, because the namespace must still be empty.
3. The rest by the init itself, and then the container is made.
4. Mounts by the init, because a /proc shows the PID namespace of who mounts it.
5. What the program starts with: its credentials last, which take the right to all else, but for its
   limits, which are to be large enough for the rest; and then what a change of credentials would
   undo.
6. What the exec hands over: the terminal and the signals.
7. What leaves the process few calls to make, and the exec.

Between them are the stations: each has the steps of a plain run, in whose place those of the parts
stand that speak for it (`steps.Part`).
"""

from spawner import lean, steps
from spawner.errors import INIT, LAUNCHER, STAGE
from spawner.linux import encode
from spawner.spec import FORKER, made_by

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from spawner.caller import Caller
    from spawner.linux import Kernel
    from spawner.spec import Spec, Wish
    from spawner.steps import Look, Part, Step, Steps


def is_staged(spec: "Spec") -> bool:
    """Tell whether a stage forks the init, which it does in three cases.

    With a new user namespace; without a new PID namespace, where it stays as the keeper; and where
    namespaces are joined, since the launcher itself may not enter them.
    """
    wanted = spec.namespaces.wanted
    return "user" in wanted or "pid" not in wanted or bool(spec.enters)


def find(
    kernel: "Kernel", spec: "Spec", caller: "Caller", lifelines: "Iterable[int]" = ()
) -> "tuple[Part, ...]":
    """Return the parts for what `spec` wants beyond a plain run, found for `caller`.

    `lifelines` are descriptors whose becoming readable ends the start. Raises SetupError and
    SpecError where something can't be had.
    """
    found: list[Part] = []
    try:
        for wish in _wishes(spec, caller):
            look = __import__(wish.door, fromlist=("find",)).find
            part: Part | None = look(wish, kernel, spec, caller, lifelines)
            if part is not None:
                found.append(part)
    except BaseException:
        for part in found:
            part.let_go()
        raise
    return tuple(found)


def _wishes(spec: "Spec", caller: "Caller") -> "Iterable[Wish]":
    """Return the wishes of `spec`, including an identity for root's user namespace."""
    if caller.user or "user" not in spec.namespaces.wanted:
        return spec.wishes
    from spawner.ids.identity import Identity

    return spec.wishes if spec.wish(Identity) else (Identity(), *spec.wishes)


def plan(
    spec: "Spec",
    caller: "Caller",
    parts: "Iterable[Part]" = (),
    *,
    terminal: int | None = None,
    notice: int | None = None,
) -> "Steps":
    """Return the steps that make the container in `spec` for `caller`, in order.

    `parts` come of `find`. `terminal` is a descriptor of the caller's terminal if the caller is in
    its foreground; `notice` is the descriptor on which pyinit speaks to the launcher.
    """
    parts = tuple(parts)
    spoken = [part.stations for part in parts]
    found: list[Step] = []
    for station, plain in STATIONS.items():
        speakers = [stations[station] for stations in spoken if station in stations]
        if not speakers:
            found += plain(spec, caller)
        for speak in speakers:
            found += speak()
    found += _hand_over(spec, caller, terminal)
    for stations in spoken:
        if steps.SEALED in stations:
            found += stations[steps.SEALED]()
    foreground = terminal is not None
    found.append(_program(spec, caller, foreground, notice, _search_path(spec, caller, parts)))
    return tuple(step for step in found if spec.namespaces.wanted.issuperset(step.needs))


def lines(spec: "Spec", planned: "Steps", parts: "Iterable[Part]" = ()) -> "Iterator[str]":
    """Yield each step as a line of text: the process, what it does, and the call."""
    for where, what, how in told(spec, planned, parts):
        yield f"{where:8}  {what}: {how}"


def told(spec: "Spec", planned: "Steps", parts: "Iterable[Part]" = ()) -> "Iterator[Look]":
    """Yield the process, the words and the call of each step, and of each look before."""
    for part in parts:
        yield from part.looks
    forker = LAUNCHER
    if is_staged(spec):
        forker = STAGE
        yield LAUNCHER, "fork the stage", "fork()"
    forked = False
    for step in planned:
        if step.where == INIT and not forked:
            forked = True
            yield forker, "fork the init", "fork()"
        yield step.where, step.describe(), step.call()


def _user(spec: "Spec", _: "Caller") -> "Iterator[Step]":
    if "user" in spec.namespaces.wanted:
        yield _unshare(spec, "user", STAGE)


def _maps(spec: "Spec", caller: "Caller") -> "Iterator[Step]":
    """Yield the steps that make the caller root in the new user namespace."""
    if "user" in spec.namespaces.wanted:
        yield from steps.map_own(users=f"0 {caller.user} 1", groups=f"0 {caller.group} 1")


def _children(spec: "Spec", _: "Caller") -> "Iterator[Step]":
    forker = STAGE if is_staged(spec) else LAUNCHER
    for kind in made_by(FORKER):
        if kind in spec.namespaces.wanted:
            yield _unshare(spec, kind, forker)
    for clock, offset in (("monotonic", spec.monotonic), ("boottime", spec.boottime)):
        if offset is not None:
            yield steps.set_clock(clock, offset, forker)


def _group(_: "Spec", __: "Caller") -> "Iterator[Step]":
    yield steps.make_group()


def _own(spec: "Spec", _: "Caller") -> "Iterator[Step]":
    for kind in made_by(INIT):
        if kind in spec.namespaces.wanted:
            yield _unshare(spec, kind, INIT)


def _unshare(spec: "Spec", kind: str, where: str) -> "Step":
    return steps.unshare(kind, where, optional=kind in spec.namespaces.optional)


def _mounts(_: "Spec", __: "Caller") -> "Iterator[Step]":
    yield steps.make_private()
    yield steps.mount_proc()


def _names(spec: "Spec", _: "Caller") -> "Iterator[Step]":
    if spec.hostname is not None:
        yield steps.set_hostname(spec.hostname)


def _loopback(_: "Spec", __: "Caller") -> "Iterator[Step]":
    yield steps.bring_up_loopback()


def _place(spec: "Spec", _: "Caller") -> "Iterator[Step]":
    if spec.workdir is not None:
        yield steps.change_directory(spec.workdir)


def _listeners(_: "Spec", caller: "Caller") -> "Iterator[Step]":
    if caller.listens:
        yield steps.pass_listeners()


def _environment(spec: "Spec", _: "Caller") -> "Iterator[Step]":
    if spec.clear_environment:
        yield steps.clear_environment()
    for name, value in spec.environment:
        yield steps.set_variable(name, value)


def _last(spec: "Spec", _: "Caller") -> "Iterator[Step]":
    """Yield the steps that a later change of credentials would undo."""
    yield steps.leave_session_keyring()
    yield steps.die_with_parent(keeper="pid" not in spec.namespaces.wanted)


def _nothing(_: "Spec", __: "Caller") -> "Iterator[Step]":
    yield from ()


STATIONS: "dict[str, Callable[[Spec, Caller], Iterator[Step]]]" = {
    steps.JOINED: _nothing,
    steps.USER: _user,
    steps.MAPS: _maps,
    steps.NESTED: _nothing,
    steps.CHILDREN: _children,
    steps.GROUP: _group,
    steps.ENTERED: _nothing,
    steps.OWN: _own,
    steps.KEPT: _nothing,
    steps.NETWORK: _nothing,
    steps.ROOT: _nothing,
    steps.MOUNTS: _mounts,
    steps.FILES: _nothing,
    steps.NAMES: _names,
    steps.LOOPBACK: _loopback,
    steps.PLACE: _place,
    steps.LISTENERS: _listeners,
    steps.VARIABLES: _nothing,
    steps.ENVIRONMENT: _environment,
    steps.BOUNDING: _nothing,
    steps.IDS: _nothing,
    steps.RIGHTS: _nothing,
    steps.LIMITS: _nothing,
    steps.LAST: _last,
    steps.TERMINAL: _nothing,
}
"""The stations in the kernel's order, each with the steps of a plain run."""


def _hand_over(spec: "Spec", caller: "Caller", terminal: int | None) -> "Iterator[Step]":
    """Yield the steps that hand over terminal and signals; pyinit gets them as arguments."""
    if spec.init == "":
        return
    if terminal is not None:
        yield steps.take_foreground(terminal)
    yield steps.restore_signals(caller.ignored, caller.mask)


def _program(
    spec: "Spec",
    caller: "Caller",
    foreground: bool,
    notice: int | None,
    search_path: bytes | None,
) -> "Step":
    """Yield the last steps of the init, up to its exec."""
    program = [encode(word) for word in spec.arguments]
    if spec.init is None:
        return steps.execute(program, search_path)
    if spec.init:
        return steps.execute_init([encode(spec.init), b"--", *program], search_path)
    words = lean.pyinit(caller.ignored, caller.mask, foreground=foreground, notice=notice)
    return steps.execute_init([*map(encode, words), *program], search_path, ours=True)


def _search_path(spec: "Spec", caller: "Caller", parts: "Iterable[Part]") -> bytes | None:
    """Return the PATH in which the program is looked up."""
    found = None if spec.clear_environment else caller.search_path
    for part in parts:
        found = part.search_path(found)
    for name, value in spec.environment:
        if name == "PATH":
            found = encode(value)
    return found
