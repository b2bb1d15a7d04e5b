"""Our own profile of system calls: its numbers are libseccomp's, and its program keeps to it."""

from __future__ import annotations

import ctypes
import errno
import functools
import itertools
import posix

import pytest
from helpers.bpf import answer, data, instructions
from helpers.capabilities import require
from hypothesis import given
from hypothesis import strategies as st

from spawner.errors import SetupError
from spawner.linux import BPF_MAXINSNS, SOCK_FILTER_SIZE
from spawner.rights import bpf, profile, syscalls

ALLOW, KILL = 0x7FFF0000, 0x80000000
EPERM, ENOSYS = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS

MACHINES = sorted(syscalls.MACHINES)
machines = pytest.mark.parametrize("machine", MACHINES)

FOREIGN = {"x86_64": (0x40000003, 0xC00000B7), "aarch64": (0x40000028, 0xC000003E)}
"""AUDIT_ARCH_* of other architectures that the same machine may run, linux/audit.h."""


@functools.cache
def judge(machine: str, added: str) -> bpf.Instructions:
    return profile.judge(machine, held(added))


def held(added: str) -> frozenset[str]:
    return profile.opened(frozenset(added.split()), frozenset())


def said(machine: str, number: int, *arguments: int, added: str = "") -> int:
    """Return the answer of the profile to a call."""
    architecture, _ = syscalls.MACHINES[machine]
    return answer(judge(machine, added), data(number, architecture, *arguments))


def of(machine: str, name: str, *arguments: int, added: str = "") -> int:
    return said(machine, syscalls.numbers(machine)[name], *arguments, added=added)


@machines
def test_numbers_are_those_of_libseccomp(machine: str) -> None:
    require("libseccomp")
    library = ctypes.CDLL("libseccomp.so.2")
    architecture, _ = syscalls.MACHINES[machine]
    resolve = library.seccomp_syscall_resolve_num_arch
    resolve.restype = ctypes.c_void_p
    checked = 0
    for name, number in syscalls.numbers(machine).items():
        found = library.seccomp_syscall_resolve_name_arch(
            ctypes.c_uint32(architecture), name.encode()
        )
        if found >= 0:  # an older libseccomp doesn't know the newest
            assert (name, found) == (name, number)
            checked += 1
    assert checked > 290
    known = set(syscalls.numbers(machine).values())
    libc = ctypes.CDLL(None)
    for number in range(460):
        name = resolve(ctypes.c_uint32(architecture), ctypes.c_int(number))
        assert name is None or number in known, (number, ctypes.string_at(name))
        libc.free(ctypes.c_void_p(name))


@machines
@pytest.mark.parametrize("added", ["", "sys_admin", "all", "sys_ptrace bpf"])
def test_the_search_finds_the_verdict_of_each_number(machine: str, added: str) -> None:
    verdicts = profile.verdicts(machine, held(added))
    assert verdicts.keys() == set(syscalls.numbers(machine).values())
    architecture, _ = syscalls.MACHINES[machine]
    for number in [*range(600), 0x3FFFFFFF]:
        alone = answer(verdicts.get(number, profile.MISSING), data(number, architecture))
        assert said(machine, number, added=added) == alone
        assert number in verdicts or alone == ENOSYS


@machines
def test_the_program_is_one_that_the_kernel_takes(machine: str) -> None:
    for added in ("", "all"):
        program = judge(machine, added)
        assert len(program) < BPF_MAXINSNS
        assert len(bpf.assembled(program)) == len(program) * SOCK_FILTER_SIZE
        assert tuple(instructions(bpf.assembled(program))) == program
        for at, (code, if_true, if_false, operand) in enumerate(program):
            far = operand if code == 0x05 else max(if_true, if_false)
            assert at + far < len(program)
        assert program[-1][0] == 0x06


@machines
def test_other_architectures_are_killed(machine: str) -> None:
    program = profile.judge(machine, frozenset())
    for architecture in FOREIGN[machine]:
        assert answer(program, data(0, architecture)) == KILL
    assert said(machine, 0x40000000) == KILL
    assert said(machine, 0x40000000 + 520) == KILL
    assert said(machine, -1) == ENOSYS


@machines
@pytest.mark.parametrize(
    "name",
    ["io_uring_setup", "bpf", "userfaultfd", "keyctl", "perf_event_open", "kexec_load", "setns",
     "open_by_handle_at", "mount", "umount2", "pivot_root", "move_mount", "init_module",
     "reboot", "settimeofday", "acct", "swapon", "add_key", "chroot", "quotactl"],
)  # fmt: skip
def test_what_the_engines_refuse_is_refused(machine: str, name: str) -> None:
    assert of(machine, name) == EPERM


@machines
@pytest.mark.parametrize(
    "name",
    ["read", "openat", "execve", "socketpair", "ptrace", "seccomp", "prctl", "memfd_create",
     "landlock_restrict_self", "pidfd_open", "futex", "rseq", "statx", "close_range", "ioctl",
     "personality", "clone", "socket", "wait4", "setuid", "capset", "rt_sigtimedwait"],
)  # fmt: skip
def test_what_programs_need_is_allowed(machine: str, name: str) -> None:
    assert of(machine, name) == ALLOW


@machines
def test_arguments_decide(machine: str) -> None:
    high = 1 << 32
    for flag in (0x10000000, 0x20000, 0x40000000, 0x2000000, 0x4000000, 0x8000000, 0x20000000):
        assert of(machine, "clone", flag | 17) == EPERM
        assert of(machine, "clone", flag | high) == EPERM
        assert of(machine, "clone", flag, added="sys_admin") == ALLOW
    assert of(machine, "clone", 0x3D0F00) == ALLOW  # a thread's
    for flag in (0x10000000, 0x20000, 0x80, 0x100000, 1 << 34):
        assert of(machine, "unshare", flag | 0x200) == EPERM
        assert of(machine, "unshare", flag, added="sys_admin") == ALLOW
    assert of(machine, "unshare", 0x40600) == of(machine, "unshare", 0) == ALLOW
    for family in (1, 2, 10, 16):
        assert of(machine, "socket", family) == ALLOW
    for family in (38, 40):
        assert of(machine, "socket", family) == of(machine, "socket", high | family) == EPERM
    for request in (0x5412, 0x541C):
        assert of(machine, "ioctl", 0, request) == of(machine, "ioctl", 0, high | request) == EPERM
    assert of(machine, "ioctl", 0x5412, 0x5401) == ALLOW
    assert of(machine, "personality", 0x20008) == of(machine, "personality", 2**32 - 1) == ALLOW
    assert of(machine, "personality", 0x0040000) == EPERM  # ADDR_NO_RANDOMIZE


@machines
def test_a_capability_that_is_named_opens_its_calls_alone(machine: str) -> None:
    numbers = syscalls.numbers(machine)
    base = {name: of(machine, name) for name in numbers}
    for capability, calls in profile.FOR_CAPABILITY.items():
        opened = {name for name in numbers if of(machine, name, added=capability) != base[name]}
        assert opened == set(calls.split()) & set(numbers)
        assert all(of(machine, name, added=capability) == ALLOW for name in opened)
    assert of(machine, "clone3") == ENOSYS
    assert of(machine, "clone3", added="sys_admin") == ALLOW
    assert of(machine, "io_uring_setup", added="all") == EPERM


def test_a_capability_that_is_dropped_opens_nothing() -> None:
    every, one = frozenset({"all"}), frozenset({"sys_admin"})
    assert profile.opened(every, one) == frozenset(profile.FOR_CAPABILITY) - one
    assert profile.opened(one, every) == one
    assert profile.opened(frozenset(), frozenset()) == frozenset()


def test_names_in_the_rules_are_those_of_calls() -> None:
    known = set(itertools.chain.from_iterable(map(syscalls.numbers, MACHINES)))
    rules = " ".join([profile.REFUSED, *profile.FOR_CAPABILITY.values(), *profile.CHECKED])
    assert set(rules.split()) <= known


@given(
    st.dictionaries(st.integers(0, 5000), st.integers(1, 4), max_size=900),
    st.lists(st.integers(0, 6000), max_size=30),
)
def test_a_search_of_any_size_finds_what_is_there(
    verdicts: dict[int, int], asked: list[int]
) -> None:
    """Also where jumps are farther than a condition can skip."""
    runs = bpf.intervals({number: bpf.give_back(each) for number, each in verdicts.items()},
                         bpf.give_back(0))  # fmt: skip
    program = (bpf.load(bpf.NUMBER), *bpf.search(runs))
    for number in [*asked, *verdicts, *(each + 1 for each in verdicts)]:
        assert answer(program, data(number, 0)) == verdicts.get(number, 0)


def test_a_machine_without_a_profile_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    other = posix.uname_result(("Linux", "host", "6.1", "1", "riscv64"))
    monkeypatch.setattr(posix, "uname", lambda: other)
    with pytest.raises(SetupError, match="is for x86_64 and aarch64, and this machine is riscv64"):
        profile.program()
