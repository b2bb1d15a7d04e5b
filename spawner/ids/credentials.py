"""The steps that write id maps by helpers, and that change the program's credentials.

Credentials come last, credentials(7): groups, then the group, then the user, since each needs a
right that goes with the next. Supplementary groups that aren't named are dropped by whoever becomes
another user or group: they'd be the caller's. Only where setgroups(2) is denied they stay.
"""

from spawner.errors import INIT, LAUNCHER, SetupError, mark
from spawner.ids import helpers
from spawner.ids.identity import Identity
from spawner.ids.subid import FILES
from spawner.steps import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from spawner.ids.idmap import IdMap
    from spawner.linux import Kernel
    from spawner.spec import Spec


def map_ids_by(path: str, kind: str, wanted: "IdMap", watched: "Iterable[int]" = ()) -> Step:
    """Write a map of the stage's user namespace with newuidmap or newgidmap, found at `path`.

    From outside: it runs with root's rights there, and checks that the ranges are the caller's.
    `watched` are the launcher's lifelines.
    """
    name = f"new{kind}map"
    lines = wanted.text.splitlines()
    numbers = " ".join(lines)

    def act(kernel: "Kernel", process: str) -> None:
        status, _, errors = helpers.ask(kernel, (path, process, *numbers.split()), watched)
        if status == 0:
            return
        said = " ".join(errors.split()) or f"{name} ended with status {status}"
        raise SetupError(
            f"write the {kind} map {', '.join(lines)}: {said}",
            stage=LAUNCHER,
            path=path,
            hint=_hint(path, kind),
        )

    return Step(
        LAUNCHER,
        f"write the {kind} map {', '.join(lines)} with {name}",
        f"{name} STAGE {numbers}",
        act,
        topic=f"map-{kind}-by-helper",
        needs=("user",),
        makes=True,
    )


def _hint(path: str, kind: str) -> str:
    listed = f"getsubids{' -g' if kind == 'gid' else ''}"
    return (
        f"check that `{listed}` lists these ids as yours, that {FILES[kind]} isn't a symbolic "
        f"link, that you are in your login group, and that new{kind}map runs as root (`chown root "
        f"{path} && chmod u+s {path}`, on a file system that isn't mounted nosuid); or map only "
        f"your own id ({mark('--map-root-user')})"
    )


def named(spec: "Spec") -> Identity:
    """Return the identity that was asked for, or that of a plain run."""
    return spec.wish(Identity) or Identity()


def become(identity: Identity, *, groups_stay: bool) -> "Iterator[Step]":
    """Yield the steps that give the init the ids that the program is to have.

    With `groups_stay` the supplementary groups can't be dropped.
    """
    groups = identity.groups
    if groups is None and (identity.user is not None or identity.group is not None):
        groups = None if groups_stay else ()
    if groups is not None:
        yield set_groups(groups)
    if identity.group is not None:
        yield set_group(identity.group)
    if identity.user is not None:
        yield set_user(identity.user)


def set_groups(groups: tuple[int, ...]) -> Step:
    """Replace the supplementary groups, setgroups(2)."""
    shown = ", ".join(map(str, groups))
    return Step(
        INIT,
        f"set the supplementary groups to {shown}" if groups else "drop the supplementary groups",
        f"setgroups({len(groups)}, [{shown}])",
        lambda kernel, _: kernel.setgroups(groups),
        topic="set-groups",
    )


def set_group(group: int) -> Step:
    """Become a group for good: real, effective and saved, setresgid(2)."""
    return Step(
        INIT,
        f"become group {group}",
        f"setresgid({group}, {group}, {group})",
        lambda kernel, _: kernel.setgid(group),
        topic="set-group",
    )


def set_user(user: int) -> Step:
    """Become a user for good: real, effective and saved, setresuid(2).

    Root's capabilities go with root, capabilities(7).
    """

    def act(kernel: "Kernel", _: str) -> None:
        # Whoever it becomes may not be able to read what a failed exec takes.
        from pyinit import execerror, execvp  # noqa: F401

        kernel.setuid(user)

    return Step(
        INIT,
        f"become user {user}",
        f"setresuid({user}, {user}, {user})",
        act,
        topic="set-user",
    )
