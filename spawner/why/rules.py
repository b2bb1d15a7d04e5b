"""Say why the kernel refused, from the host's own state, and what to do about it.

An errno names a kind of refusal, not its cause: EPERM for a new user namespace may come from a
chroot, a sysctl, AppArmor, a seccomp filter or an id without a mapping. What each cause leaves
visible is looked up here, only after a failure.

The causes have a module a subject, from `limits` to `policy`. `_RULES` lists them by the errnos
that they give, in the order in which they are asked: those that can be sure come first, those that
judge by what else is in force come last. Each answers with one sentence, the cause and what to do,
or with None.
"""

import errno

from spawner.errors import INIT
from spawner.joining.target import Joins
from spawner.why import kernel, limits, mounts, paths, policy, rights, users
from spawner.why.evidence import DENIED, NO_CALL, Case, Host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from spawner.errors import SetupError
    from spawner.spec import Spec


def why(error: "SetupError", spec: "Spec | None", host: Host | None = None) -> str | None:
    """Return one sentence that says why `error` happened and what to do, None where unknown.

    `spec` is what was asked for, as far as that is known. Never raises.
    """
    host = host or Host()
    asked = _RULES
    wanted = None if spec is None else spec.wish(Joins)
    if wanted is not None:
        from spawner.why import joins

        found = joins.why(error, wanted, host)
        if found or error.hint:
            return found
        if error.stage == INIT:  # whose paths are others' by now
            asked = _OF_WISHES
    case = Case(error, spec, host)
    for errnos, rule in asked:
        if case.errno in errnos:
            found = rule(case)
            if found:
                return found
    return None


_OF_WISHES: "tuple[tuple[tuple[int, ...], Callable[[Case], str | None]], ...]" = (
    (limits.GROUP, limits.own_group),
    (DENIED, limits.nice),
    (DENIED, limits.oom_score),
    ((errno.EPERM,), rights.no_setpcap),
    ((errno.EPERM,), rights.securebits),
    ((errno.EACCES, errno.EINVAL), rights.unfit_filter),
    (
        (errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.E2BIG),
        rights.unfit_landlock,
    ),
    ((errno.EACCES,), rights.init_shut),
)
"""Those that go by what was asked for, and by no path."""

_RULES: "tuple[tuple[tuple[int, ...], Callable[[Case], str | None]], ...]" = (
    ((errno.EMFILE,), limits.no_descriptor),
    ((errno.ENFILE,), limits.no_file),
    ((errno.E2BIG,), limits.too_long),
    ((errno.EACCES,), paths.shut_root),
    *_OF_WISHES,
    ((errno.ENOENT, errno.ESRCH, *DENIED), kernel.no_proc),
    ((errno.EINVAL, errno.ENOMEM, errno.ECHILD), kernel.born_elsewhere),
    ((errno.EAGAIN,), limits.few_processes),
    ((errno.EAGAIN,), limits.own_processes),
    ((errno.EAGAIN,), limits.no_process),
    ((NO_CALL,), limits.little_memory),
    ((NO_CALL,), limits.init_too_large),
    ((NO_CALL, errno.EPERM), rights.init_sealed),
    ((NO_CALL,), rights.init_shut),
    ((errno.ENOSPC,), limits.no_namespace),
    ((errno.EINVAL,), kernel.no_kind),
    ((errno.EPERM,), users.no_mapping),
    ((errno.EPERM,), users.chroot),
    ((errno.EPERM,), users.only_root),
    ((errno.EROFS,), mounts.read_only_proc),
    ((errno.EPERM,), users.no_setfcap),
    ((errno.EPERM,), users.no_right),
    ((errno.EPERM,), mounts.fresh_proc),
    ((errno.EINVAL,), mounts.plain_root),
    ((errno.EDQUOT,), limits.no_key),
    ((errno.ENOTSUP,), kernel.no_number),
    ((errno.ERANGE,), limits.clock),
    ((errno.EINVAL,), limits.long_name),
    ((errno.EACCES, errno.ENOENT, errno.ENOTDIR, errno.ELOOP), paths.way),
    ((errno.ENOSYS,), kernel.no_call),
    (DENIED, policy.apparmor_userns),
    (DENIED, policy.apparmor),
    ((errno.EACCES,), policy.selinux),
    ((errno.EPERM, errno.ENOSYS, errno.EAFNOSUPPORT), policy.seccomp),
    ((errno.EPERM,), users.perhaps_chroot),
)
