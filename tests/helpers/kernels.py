"""Kernels to hand in where the real one would need rights: one that records, one that refuses."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from spawner.errors import SyscallError
from spawner.linux import Kernel

CALLS = tuple(
    name for name, value in vars(Kernel).items() if callable(value) and not name.startswith("_")
)
"""Every method of the kernel."""

HARMLESS = (
    "fork",
    "fork_aside",
    "pidfd_open",
    "pidfd_send_signal",
    "pass_on_signal",
    "set_parent_death_signal",
    "become_subreaper",
    "make_process_group",
    "pipe",
    "open",
    "open_directory",
    "open_directory_above",
    "fchdir",
    "mount_id",
    "chdir_by_text",
    "parent_namespace",
    "kind_of_namespace",
    "hide",
    "leave_session_keyring",
    "signalfd",
    "keep_over_exec",
    "chdir",
    "clear_environment",
    "set_variable",
    "exec",
    "set_signals",
    "prlimit",
    "replace_stream",
    "setpriority",
    "getpriority",
    "read_file",
    "prctl",
    "capget",
    "capset",
    "open_source",
    "identity",
    "is_directory",
    "device",
    "walk",
    "capacity",
    "mounts",
    "directory",
    "install_filter",
    "openpty",
)
"""Methods that change nothing but the calling process, and need no rights."""


class Recording(Kernel):
    """A kernel that does nothing, and remembers what it was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []


def _recorder(name: str) -> Callable[..., Any]:
    def record(self: Recording, *arguments: object) -> None:
        self.calls.append((name, *arguments))

    return record


for _name in CALLS:
    setattr(Recording, _name, _recorder(_name))


class Faulty(Kernel):
    """A kernel without namespaces: it does what is harmless, and refuses one call.

    `refused` is (method, which of its calls in this process, errno), or None. The mounts and
    namespaces, which need rights, are only pretended; the processes and pipes are real.
    """

    def __init__(self, refused: tuple[str, int, int] | None) -> None:
        self.refused = refused
        self.counts: dict[str, int] = {}


def _fault(name: str) -> Callable[..., Any]:
    real = getattr(Kernel, name)

    def call(self: Faulty, *arguments: object) -> Any:
        count = self.counts[name] = self.counts.get(name, 0) + 1
        if self.refused is not None and self.refused[:2] == (name, count):
            raise SyscallError(name, self.refused[2])
        return real(self, *arguments) if name in HARMLESS else None

    return call


for _name in CALLS:
    setattr(Faulty, _name, _fault(_name))


def open_descriptors() -> set[int]:
    """Return the descriptors that are open here."""
    listed = set(map(int, os.listdir("/proc/self/fd")))
    return {descriptor for descriptor in listed if _is_open(descriptor)}


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
