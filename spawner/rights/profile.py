"""Our own profile of system calls, as a filter of classic BPF (`--seccomp default`).

It allows what the container engines' profile allows to a container without capabilities, and a call
that is for a capability where that is named in `cap_add`. So of the calls that `syscalls` knows

* most are allowed, AF_UNIX and threads among them;
* those of `FOR_CAPABILITY` and `REFUSED` fail with EPERM;
* of those of `CHECKED` the arguments decide;

and those that it doesn't know, as they are newer, fail with ENOSYS: programs then do without, as on
an older kernel. So does clone3(2), whose flags lie in memory, where no filter can look: the C
library takes clone(2) instead. A call of another architecture, with numbers of its own, kills the
process.
"""

import errno
import posix

from spawner.errors import LAUNCHER, SetupError, mark
from spawner.rights import bpf, syscalls
from spawner.spec import ALL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from spawner.rights.bpf import Instructions

FOR_CAPABILITY = {
    "bpf": """
        bpf
    """,
    "dac_read_search": """
        open_by_handle_at
    """,
    "perfmon": """
        perf_event_open
    """,
    "sys_admin": """
        bpf clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr
        lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree open_tree_attr
        perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount2
    """,
    "sys_boot": """
        reboot
    """,
    "sys_chroot": """
        chroot
    """,
    "sys_module": """
        delete_module finit_module init_module
    """,
    "sys_nice": """
        get_mempolicy mbind set_mempolicy set_mempolicy_home_node
    """,
    "sys_pacct": """
        acct
    """,
    "sys_ptrace": """
        kcmp pidfd_getfd process_madvise
    """,
    "sys_rawio": """
        ioperm iopl
    """,
    "sys_time": """
        clock_settime settimeofday
    """,
    "sys_tty_config": """
        vhangup
    """,
    "syslog": """
        syslog
    """,
}
"""The calls that are refused unless the capability is named, by its name."""

REFUSED = """
    _sysctl add_key afs_syscall create_module file_setattr get_kernel_syms getpmsg io_uring_enter
    io_uring_register io_uring_setup kexec_file_load kexec_load keyctl migrate_pages move_pages
    nfsservctl pivot_root putpmsg query_module request_key security swapoff swapon sysfs tuxcall
    uselib userfaultfd ustat vserver
"""
"""The calls that are refused whatever the capabilities.

What they are for has been a way into the kernel more than once, or they are no longer there.
"""

NAMESPACES = 0x7E020000
"""The flags of clone(2) that make namespaces, CLONE_NEW* of linux/sched.h."""

UNSHARED = 0x40600
"""The flags of unshare(2) that make none: CLONE_FS, CLONE_FILES, CLONE_SYSVSEM, linux/sched.h."""

AF_ALG, AF_VSOCK = 38, 40
"""The families of sockets to the kernel's ciphers and to the hypervisor, bits/socket.h.

The engines' profile has long had the second alone. The first brings parsers of the kernel's within
anybody's reach, and those who use it can do without: it is an option of the kernel's.
"""

TIOCSTI, TIOCLINUX = 0x5412, 0x541C
"""What types into a terminal, and what pastes into a console, asm-generic/ioctls.h."""

PERSONALITIES = (0, 0x0008, 0x20000, 0x20008, 0xFFFFFFFF)
"""What the engines allow of personality(2): Linux, 32 bits, UNAME26, both, and to ask."""

# Where each argument lies in struct seccomp_data, linux/seccomp.h, its lower half first. The kernel
# looks at no more than that of these, but for the flags of unshare(2).
_FIRST, _SECOND = 16, 24

_NO_CALL = 0xFFFFFFFF
"""What syscall(2) is called with to learn what becomes of a call that doesn't exist."""

_X32 = 0x40000000
"""The bit of the x32 calls of x86-64, which is another architecture, asm/unistd.h."""

ALLOWED = bpf.give_back(bpf.ALLOW)
DENIED = bpf.give_back(bpf.ERRNO | errno.EPERM)
MISSING = bpf.give_back(bpf.ERRNO | errno.ENOSYS)
KILLED = bpf.give_back(bpf.KILL_PROCESS)


def clone() -> "Instructions":
    """Return the instructions that refuse clone(2) new namespaces."""
    masked = (bpf.load(_FIRST), bpf.mask(NAMESPACES))
    return (*masked, *bpf.unless_equal(0, DENIED), *ALLOWED)


def unshare() -> "Instructions":
    """Return the instructions that allow unshare(2) nothing but what makes no namespace.

    Flags that the kernel doesn't know yet may make one.
    """
    high = (bpf.load(_FIRST + 4), *bpf.unless_equal(0, DENIED))
    low = (bpf.load(_FIRST), bpf.mask(~UNSHARED & 0xFFFFFFFF), *bpf.unless_equal(0, DENIED))
    return (*high, *low, *ALLOWED)


def socket() -> "Instructions":
    """Return the instructions that refuse sockets of AF_ALG and AF_VSOCK."""
    found = (*bpf.if_equal(AF_ALG, DENIED), *bpf.if_equal(AF_VSOCK, DENIED))
    return (bpf.load(_FIRST), *found, *ALLOWED)


def ioctl() -> "Instructions":
    """Return the instructions that refuse to type into terminals."""
    typing = (*bpf.if_equal(TIOCSTI, DENIED), *bpf.if_equal(TIOCLINUX, DENIED))
    return (bpf.load(_SECOND), *typing, *ALLOWED)


def personality() -> "Instructions":
    """Return the instructions that allow the personalities that programs use."""
    found: Instructions = (bpf.load(_FIRST),)
    for each in PERSONALITIES:
        found += bpf.if_equal(each, ALLOWED)
    return (*found, *DENIED)


CHECKED: "dict[str, Callable[[], Instructions]]" = {
    "clone": clone,
    "unshare": unshare,
    "socket": socket,
    "ioctl": ioctl,
    "personality": personality,
}
"""The calls whose arguments decide, with the instructions for that."""


def program(
    added: "frozenset[str]" = frozenset(), dropped: "frozenset[str]" = frozenset()
) -> bytes:
    """Return the filter for this machine, and for capabilities that are given or taken by name.

    Raises SetupError on a machine that the profile isn't for.
    """
    machine = posix.uname().machine
    if machine not in syscalls.MACHINES:
        known = " and ".join(syscalls.MACHINES)
        raise SetupError(
            f"the default seccomp profile is for {known}, and this machine is {machine}",
            stage=LAUNCHER,
            hint="compile your own filter with libseccomp, seccomp_export_bpf(3), and give its "
            f"file to {mark('--seccomp')}",
        )
    return bpf.assembled(judge(machine, opened(added, dropped)))


def opened(added: "frozenset[str]", dropped: "frozenset[str]") -> "frozenset[str]":
    """Return the capabilities whose calls are allowed: one that is named by itself beats ALL."""
    return frozenset(FOR_CAPABILITY) - dropped if ALL in added else added


def judge(machine: str, held: "frozenset[str]") -> "Instructions":
    """Return the instructions that judge the calls of a machine, with these capabilities."""
    architecture, _ = syscalls.MACHINES[machine]
    return (
        bpf.load(bpf.ARCHITECTURE),
        *bpf.unless_equal(architecture, KILLED),
        bpf.load(bpf.NUMBER),
        *bpf.if_equal(_NO_CALL, MISSING),
        *bpf.if_at_least(_X32, KILLED),
        *bpf.search(bpf.intervals(verdicts(machine, held), MISSING)),
    )


def verdicts(machine: str, held: "frozenset[str]") -> "dict[int, Instructions]":
    """Return the instructions for each call that the profile knows, by its number."""
    by_name = dict.fromkeys(_calls(FOR_CAPABILITY), DENIED)
    by_name |= {name: judged() for name, judged in CHECKED.items()}
    by_name["clone3"] = MISSING
    by_name |= dict.fromkeys(_calls(FOR_CAPABILITY.keys() & held), ALLOWED)
    if "sys_admin" in held:
        by_name |= dict.fromkeys(("clone", "unshare"), ALLOWED)
    by_name |= dict.fromkeys(REFUSED.split(), DENIED)
    numbers = syscalls.numbers(machine)
    return {number: by_name.get(name, ALLOWED) for name, number in numbers.items()}


def _calls(capabilities: "Iterable[str]") -> "list[str]":
    """Return the names of the calls that are for capabilities."""
    return [name for each in capabilities for name in FOR_CAPABILITY[each].split()]
