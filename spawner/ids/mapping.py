"""Find the id maps of a container before anything is made.

1. The extents that were named, the caller's own id, and then the subordinate range (`subid`) where
   that is asked for, add up to a map of users and one of groups.
2. Whoever has CAP_SETUID and CAP_SETGID writes them directly. Anybody else may map one id, the own
   one, and has to give up setgroups(2) inside for that of groups; all other maps take newuidmap and
   newgidmap, which are set-user-ID programs, and know who owns which subordinate range.
3. What can't work is refused here, with words: user_namespaces(7) has EPERM or EINVAL for all.
"""

import posix

from spawner.errors import LAUNCHER, SetupError, SyscallError, mark
from spawner.host import proc, programs
from spawner.ids import helpers, idmap, subid
from spawner.ids.idmap import Extent, IdMap
from spawner.spec import Frozen
from spawner.steps import attempt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from spawner.caller import Caller
    from spawner.host.running import Answer
    from spawner.ids.identity import Identity
    from spawner.ids.subid import Ask
    from spawner.linux import Kernel
    from spawner.spec import Spec

_WORDS = {"uid": "user", "gid": "group"}

_OWN_ID, _AUTO, _GROUPS = map(mark, ("--map-root-user", "--map-auto", "--groups"))
"""Options that several hints mention."""


class Maps(Frozen):
    """The maps of user and group ids; None without a new user namespace.

    A helper is the path of newuidmap or newgidmap, None where the launcher writes the map itself.
    With `deny` setgroups(2) is given up inside; `groups_stay` says that it can't be called, for
    that or another reason, so that the supplementary groups stay as they are. `watched` are the
    launcher's lifelines, whose end is the end of a helper.
    """

    users: IdMap | None = None
    groups: IdMap | None = None
    user_helper: str | None = None
    group_helper: str | None = None
    deny: bool = False
    groups_stay: bool = False
    watched: frozenset[int] = frozenset()


def find(
    kernel: "Kernel",
    identity: "Identity",
    spec: "Spec",
    caller: "Caller",
    lifelines: "Iterable[int]" = (),
) -> Maps:
    """Return the id maps for `identity` and `caller`; raises SetupError and SpecError.

    `lifelines` are descriptors that become readable when nobody waits for the container any more.
    """
    watched = frozenset(lifelines)

    def ask(arguments: "Sequence[str]") -> "Answer":
        return helpers.ask(kernel, arguments, watched)

    who = Who(ask, caller)
    return attempt(LAUNCHER, "look up the ids to map", lambda: _find(who, identity, spec, watched))


class Who:
    """The caller as the host's files and helper programs (run by `ask`) describe it."""

    def __init__(self, ask: "Ask", caller: "Caller") -> None:
        self.caller = caller
        self._ask = ask
        self._owners: tuple[str, ...] = ()

    def owners(self) -> tuple[str, ...]:
        """Return what stands for the user in /etc/subuid: the name, if there is one, and the id.

        It's looked up once.
        """
        if not self._owners:
            user = self.caller.user
            name = subid.name(self._ask, user, self._program("getent"))
            self._owners = (str(user),) if name is None else (name, str(user))
        return self._owners

    def ranges(self, kind: str) -> "list[idmap.Run]":
        """Return the user's subordinate ranges."""
        return subid.look(self._ask, kind, self.owners(), self._program("getsubids"))

    def _program(self, name: str) -> str | None:
        return programs.find(name, self.caller.search_path)


def _find(who: Who, identity: "Identity", spec: "Spec", watched: "frozenset[int]") -> Maps:
    caller = who.caller
    status = proc.status()
    denied = proc.contents("/proc/self/setgroups").strip() == "deny"
    if "user" not in spec.namespaces.wanted:
        _check_rights(identity, spec, caller, status, denied=denied)
        return Maps(groups_stay=denied)
    for kind, own in (("uid", caller.user), ("gid", caller.group)):
        _check_mapped(kind, own)
    users = _whole(who, identity, status, "uid")
    groups = _whole(who, identity, status, "gid")
    user_helper = _helper("uid", users, caller.user, who, status)
    group_helper = _helper("gid", groups, caller.group, who, status)
    alone = group_helper is None and not _holds(status, "gid")
    if alone and identity.setgroups == "allow":
        raise _refused(
            "setgroups can't stay allowed where an ordinary user maps only one group",
            f"leave out {mark('--setgroups')}, or map a subordinate range as well ({_AUTO})",
        )
    if denied and identity.setgroups == "allow":
        raise _refused(
            "setgroups can't be allowed, since it is denied in the user namespace that pyspawn "
            "runs in",
            f"leave out {mark('--setgroups')}, or start pyspawn where it is allowed",
        )
    deny = alone or identity.setgroups == "deny"
    if identity.groups is not None and (deny or denied):
        raise _refused(
            "the supplementary groups can't be set, since setgroups is denied in the user "
            "namespace",
            f"leave out {_GROUPS}, or map a subordinate range as well ({_AUTO})"
            if alone
            else f"leave out {_GROUPS}, or leave setgroups allowed",
        )
    _check_program(identity, caller, users, groups)
    return Maps(
        users=_split(users, "uid"),
        groups=_split(groups, "gid"),
        user_helper=user_helper,
        group_helper=group_helper,
        deny=deny,
        groups_stay=deny or denied,
        watched=frozenset(watched),
    )


def _check_mapped(kind: str, own: int) -> None:
    """Refuse a caller whose own id isn't mapped in pyspawn's user namespace."""
    around = _around(kind)
    seen = posix.access(f"/proc/self/{kind}_map", posix.F_OK)
    if seen and (around is None or around.to_outer(own) is None):
        raise _refused(
            f"{kind} {own} isn't mapped in pyspawn's own user namespace, so pyspawn can't make "
            "another",
            f"write that namespace's {kind}_map first (unshare has --map-root-user for that)",
        )


def _around(kind: str) -> IdMap | None:
    """Return the map of pyspawn's own user namespace, or None if it can't be read."""
    text = proc.contents(f"/proc/self/{kind}_map")
    return idmap.parse(text) if text else None


def _whole(who: Who, identity: "Identity", status: dict[str, str], kind: str) -> IdMap:
    """Return the complete map that the identity asks for."""
    caller = who.caller
    if kind == "uid":
        inner, outer = identity.map_user, caller.user
        named, auto = identity.user_map, identity.auto_users
    else:
        inner, outer = identity.map_group, caller.group
        named, auto = identity.group_map, identity.auto_groups
    extents = [] if inner is None else [Extent(inner, outer)]
    if named is not None:
        extents += named.extents
    if not auto:
        return IdMap(extents)
    return idmap.fill(extents, _ranges(who, status, kind))


def _ranges(who: Who, status: dict[str, str], kind: str) -> "list[idmap.Run]":
    """Return the caller's own subordinate ranges, also for root; raises SetupError."""
    if not _holds(status, kind):
        _check_name(kind, who)
    if found := who.ranges(kind):
        return found
    owner = who.owners()[0]
    if subid.elsewhere():
        raise _refused(
            f"{owner} has no subordinate {_WORDS[kind]} ids",
            "have a range added in the service that the line `subid:` of /etc/nsswitch.conf names",
        )
    raise _refused(
        f"{owner} has no subordinate {_WORDS[kind]} ids in {subid.FILES[kind]}",
        f"as root, add a line like `{owner}:100000:65536` to "
        f"{' and '.join(subid.FILES.values())}, with ids that are mapped here and that no user "
        "has yet",
    )


def _helper(kind: str, wanted: IdMap, own: int, who: Who, status: dict[str, str]) -> str | None:
    """Return the helper that has to write a map, or None if the launcher may; raises SetupError.

    Without the right to, the launcher may still write one extent, for its own id alone.
    """
    if _holds(status, kind):
        return None
    if (
        len(wanted.extents) == 1
        and wanted.extents[0].count == 1
        and wanted.to_inner(own) is not None
    ):
        return None
    _check_name(kind, who)
    name = f"new{kind}map"
    what = f"map {_WORDS[kind]} ids with {name}"
    if not _shows_us():
        raise _refused(
            f"{what}: /proc shows another PID namespace here, so {name} wouldn't find the process",
            "mount a /proc of this PID namespace first with `mount -t proc proc /proc` (unshare "
            "has --mount-proc for that)",
        )
    path = programs.find(name, who.caller.search_path)
    if path is None:
        raise _refused(
            f"{what}: the program isn't in PATH",
            "install the package uidmap (shadow-utils on Fedora), or map only your own id "
            f"({_OWN_ID})",
        )
    if status.get("NoNewPrivs") == "1":
        raise _refused(
            f"{what}: {name} would run without root's rights, since no_new_privs is set",
            "start pyspawn where it isn't set (NoNewPrivileges=no in a unit, no `setpriv "
            f"--no-new-privs`), or map only your own id ({_OWN_ID})",
        )
    return path


def _shows_us() -> bool:
    """Tell whether newuidmap would find this process's children in /proc."""
    try:
        return proc.is_own()
    except SyscallError:
        return False


def _check_name(kind: str, who: Who) -> None:
    """Refuse a user without a name, for whom newuidmap and newgidmap don't work."""
    if len(who.owners()) == 1:
        user = who.caller.user
        raise _refused(
            f"map {_WORDS[kind]} ids with new{kind}map: user {user} has no name in passwd(5), and "
            f"new{kind}map serves only users who have one",
            f"have root run `useradd --uid {user} NAME`, or map only your own id ({_OWN_ID})",
        )


def _split(wanted: IdMap, kind: str) -> IdMap:
    """Return a map split as the kernel requires, see IdMap.split; raises SpecError."""
    around = _around(kind)
    return wanted if around is None else wanted.split(around)


def _check_program(identity: "Identity", caller: "Caller", users: IdMap, groups: IdMap) -> None:
    """Refuse maps that lack the program's own ids."""
    for kind, wanted, chosen, own, auto in (
        ("uid", users, identity.user, caller.user, identity.auto_users),
        ("gid", groups, identity.group, caller.group, identity.auto_groups),
    ):
        word = _WORDS[kind]
        mapped_id = f"--set{kind} {wanted.extents[0].inner}"
        or_auto = "" if auto else f" or {_AUTO}"
        if chosen is None and wanted.to_inner(own) is None:
            raise _refused(
                f"the program would have no {word} id in the container: the caller's, {own}, isn't "
                f"mapped by {wanted}",
                f"map it as well with {mark(f'--map-{word} ID')}, or choose one that is mapped "
                f"with {mark(mapped_id)}",
            )
        if chosen is not None and wanted.to_outer(chosen) is None:
            raise _refused(
                f"{word} {chosen}: the map {wanted} gives the container no such {word}",
                f"map it with {mark(f'--map-{word} {chosen}')} or "
                f"{mark(f'--map-{word}s {chosen}:OUTER:COUNT')}{or_auto}, or choose one that is "
                f"mapped with {mark(mapped_id)}",
            )
    or_auto = "" if identity.auto_groups else f" or {_AUTO}"
    for group in identity.groups or ():
        if groups.to_outer(group) is None:
            raise _refused(
                f"{_GROUPS}: the map {groups} gives the container no group {group}",
                f"map it with {mark(f'--map-groups {group}:OUTER:COUNT')}{or_auto} or leave it out",
            )


def _check_rights(
    identity: "Identity", spec: "Spec", caller: "Caller", status: dict[str, str], *, denied: bool
) -> None:
    """Refuse to change ids without a new user namespace if the caller lacks the capability."""
    changes_group = identity.groups is not None or identity.group not in (None, caller.group)
    changes_user = identity.user not in (None, caller.user)
    hint = f"add {_AUTO}, for a user namespace in which you have that right"
    if spec.enters and not spec.namespaces.wanted:
        hint = (
            f"add {mark('--user')} if you have that right in the target's user namespace, or join "
            "as root"
        )
    for kind, changes in (("gid", changes_group), ("uid", changes_user)):
        if changes and not _holds(status, kind):
            raise _refused(
                f"becoming another {_WORDS[kind]} requires CAP_SET{kind.upper()}",
                hint,
            )
    if identity.groups is not None and denied:
        raise _refused(
            "the supplementary groups can't be set, since setgroups is denied in the user "
            "namespace that pyspawn runs in",
            f"leave out {_GROUPS}",
        )


def _holds(status: dict[str, str], kind: str) -> bool:
    """Tell whether this process is known to have CAP_SETUID or CAP_SETGID."""
    return bool(proc.holds(status, f"CAP_SET{kind.upper()}"))


def _refused(what: str, hint: str) -> SetupError:
    return SetupError(what, stage=LAUNCHER, hint=hint)
