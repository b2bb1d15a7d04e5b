"""From what is wanted to the steps that make it, in their order; pure.

The order is the kernel's, namespaces(7):

1. The user namespace first, since it gives the right to make the others; its maps are written from
   outside before anything else is asked of it. A process that has entered one can't come back, so
   this takes a process of its own, the stage.
2. Then those of processes and of time, which are for children only: by whoever forks the init.
   Clock offsets come before that fork, because the namespace must still be empty.
3. The rest by the init itself, and then the container is made.
4. Mounts by the init, because a /proc shows the PID namespace of who mounts it.
5. What the program starts with: its credentials last, which take the right to all else, and then
   what a change of credentials would undo.
6. The exec.
"""

from spawner import initpath, steps
from spawner.errors import INIT, LAUNCHER, STAGE
from spawner.linux import encode
from spawner.spec import FORKER, made_by

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from spawner.backend import Backend
    from spawner.caller import Caller
    from spawner.joining import Joined
    from spawner.linux import Kernel
    from spawner.mapping import Maps
    from spawner.persist import Kept
    from spawner.spec import Spec
    from spawner.steps import Look, Steps


def is_staged(spec: "Spec") -> bool:
    """Tell whether a stage forks the init: for a user namespace, or to stay as the keeper.

    And where namespaces are joined, which the launcher itself may not enter.
    """
    wanted = spec.namespaces.wanted
    return "user" in wanted or "pid" not in wanted or spec.joins is not None


def find_maps(
    kernel: "Kernel", spec: "Spec", caller: "Caller", lifelines: "Iterable[int]" = ()
) -> "Maps | None":
    """Return the maps of ids for `spec`, None where an ordinary caller maps only the own ids.

    `lifelines` are descriptors whose becoming readable ends the start. Raises SetupError and
    SpecError where the maps can't be had.
    """
    if not spec.names_ids and (caller.user or "user" not in spec.namespaces.wanted):
        return None
    from spawner import mapping

    return mapping.find(kernel, spec, caller, lifelines)


def find_backend(spec: "Spec", caller: "Caller") -> "Backend | None":
    """Return what connects the network inside, None where nothing does; raises SetupError."""
    if spec.network is None or not spec.network.connected:
        return None
    if spec.network.kind == "veth":
        from spawner import veth

        return veth.find(spec.network)
    from spawner import carrier

    return carrier.find(spec.network, caller)


def find_kept(spec: "Spec") -> "Kept | None":
    """Return what keeps the namespaces of the container, None where nothing does."""
    if spec.persist is None:
        return None
    from spawner import persist

    return persist.Kept(spec, spec.persist)


def find_joins(
    kernel: "Kernel", spec: "Spec", caller: "Caller", lifelines: "Iterable[int]" = ()
) -> "Joined | None":
    """Return hold of the namespaces of others that `spec` joins, None where there are none.

    `lifelines` are as above. Raises SetupError where they can't be had.
    """
    if spec.joins is None:
        return None
    from spawner import joining

    return joining.find(kernel, spec, spec.joins, caller, lifelines)


def plan(
    spec: "Spec",
    caller: "Caller",
    *,
    terminal: int | None = None,
    notice: int | None = None,
    maps: "Maps | None" = None,
    backend: "Backend | None" = None,
    joined: "Joined | None" = None,
    kept: "Kept | None" = None,
) -> "Steps":
    """Return the steps that make what `spec` wants for `caller`, in order.

    `terminal` is a descriptor of the caller's terminal if the caller is in its foreground;
    `notice` is the descriptor on which pyinit speaks to the launcher; `maps` comes of `find_maps`,
    `backend` of `find_backend`, `joined` of `find_joins`, and `kept` of `find_kept`.
    """
    found = [
        *_outside(spec, caller, maps, joined),
        *_inside(spec, caller, backend, joined, kept),
        *_credentials(spec, maps, joined),
        *_program(spec, caller, terminal, notice, joined),
    ]
    return tuple(step for step in found if spec.namespaces.wanted.issuperset(step.needs))


def lines(spec: "Spec", planned: "Steps", looks: "Iterable[Look]" = ()) -> "Iterator[str]":
    """Yield a line for people for each step: the process that takes it, what it does, and how."""
    for where, what, how in told(spec, planned, looks):
        yield f"{where:8}  {what}: {how}"


def told(spec: "Spec", planned: "Steps", looks: "Iterable[Look]" = ()) -> "Iterator[Look]":
    """Yield for each look and each step the process that takes it, what it does, and how."""
    yield from looks
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


def _outside(
    spec: "Spec", caller: "Caller", maps: "Maps | None", joined: "Joined | None"
) -> "Iterator[steps.Step]":
    """Yield what is done before the init exists; first what is joined, then what is made."""
    forker = STAGE if is_staged(spec) else LAUNCHER
    if joined is not None:
        yield from joined.before_fork()
    if "user" in spec.namespaces.wanted:
        yield _unshare(spec, "user", STAGE)
        yield from _maps(spec, caller, maps)
    for kind in made_by(FORKER):
        if kind in spec.namespaces.wanted:
            yield _unshare(spec, kind, forker)
    for clock, offset in (("monotonic", spec.monotonic), ("boottime", spec.boottime)):
        if offset is not None:
            yield steps.set_clock(clock, offset, forker)


def _maps(spec: "Spec", caller: "Caller", maps: "Maps | None") -> "Iterator[steps.Step]":
    """Yield what fills the new user namespace with ids; groups first, as long as root is outside.

    The only map that the kernel takes from a process without privileges is of its own id.
    """
    if maps is None or maps.deny:
        yield steps.deny_setgroups()
    if maps is None or maps.groups is None or maps.users is None:
        yield steps.map_ids("gid", f"{spec.map_group} {caller.group} 1")
        yield steps.map_ids("uid", f"{spec.map_user} {caller.user} 1")
        return
    for kind, found, helper in (
        ("gid", maps.groups, maps.group_helper),
        ("uid", maps.users, maps.user_helper),
    ):
        if helper is None:
            yield steps.map_ids(kind, found.text)
        else:
            from spawner import credentials

            yield credentials.map_ids_by(helper, kind, found, maps.watched)


def _credentials(
    spec: "Spec", maps: "Maps | None", joined: "Joined | None"
) -> "Iterator[steps.Step]":
    """Yield how the init becomes who the program shall be; what that would undo comes after it."""
    if joined is not None and joined.enters_user:
        yield joined.become()
    elif spec.user is not None or spec.group is not None or spec.groups is not None:
        from spawner import credentials

        yield from credentials.become(spec, maps)
    yield steps.leave_session_keyring()
    yield steps.die_with_parent(keeper="pid" not in spec.namespaces.wanted)


def _inside(
    spec: "Spec",
    caller: "Caller",
    backend: "Backend | None",
    joined: "Joined | None",
    kept: "Kept | None",
) -> "Iterator[steps.Step]":
    """Yield what the init does to its namespaces and to itself."""
    yield steps.make_group()
    if joined is not None:
        yield from joined.after_fork()
    for kind in made_by(INIT):
        if kind in spec.namespaces.wanted:
            yield _unshare(spec, kind, INIT)
    if kept is not None:
        yield kept.step()
    if backend is not None:
        yield backend.step(users="user" in spec.namespaces.wanted)
    if spec.names_mounts:
        from spawner import mounts

        yield from mounts.inside(spec)
    else:
        yield steps.make_private()
        yield steps.mount_proc()
    if backend is not None:
        yield from backend.inside()
    if spec.hostname is not None:
        yield steps.set_hostname(spec.hostname)
    if spec.network is None or spec.network.kind != "none":
        yield steps.bring_up_loopback()
    if joined is not None:
        yield from joined.places()
    elif spec.workdir is not None:
        yield steps.change_directory(spec.workdir)
    if caller.listens and (joined is None or not joined.closes):
        yield steps.pass_listeners()
    if joined is not None:
        yield from joined.variables()
    if spec.clear_environment:
        yield steps.clear_environment()
    for name, value in spec.environment:
        yield steps.set_variable(name, value)


def _unshare(spec: "Spec", kind: str, where: str) -> steps.Step:
    return steps.unshare(kind, where, optional=kind in spec.namespaces.optional)


def _program(
    spec: "Spec",
    caller: "Caller",
    terminal: int | None,
    notice: int | None,
    joined: "Joined | None",
) -> "Iterator[steps.Step]":
    """Yield how the init becomes the program, or the init that starts it."""
    program = [encode(word) for word in spec.arguments]
    search_path = _search_path(spec, caller, joined)
    if spec.init == "":
        words = initpath.pyinit(
            caller.ignored, caller.mask, foreground=terminal is not None, notice=notice
        )
        yield steps.execute_init([*map(encode, words), *program], search_path, notice, ours=True)
        return
    if terminal is not None:
        yield steps.take_foreground(terminal)
    yield steps.restore_signals(caller.ignored, caller.mask)
    if spec.init is None:
        yield steps.execute(program, search_path)
    else:
        yield steps.execute_init([encode(spec.init), b"--", *program], search_path)


def _search_path(spec: "Spec", caller: "Caller", joined: "Joined | None") -> bytes | None:
    """Return the PATH that the program will have: that is where it is looked up."""
    found = None if spec.clear_environment else caller.search_path
    if joined is not None and joined.environment is not None:
        found = joined.environment.get(b"PATH")
    for name, value in spec.environment:
        if name == "PATH":
            found = encode(value)
    return found
