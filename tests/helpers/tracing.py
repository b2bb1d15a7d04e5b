"""Provoke in another process what only its own broken code could: ptrace(2), x86-64."""

from __future__ import annotations

import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long

# linux/ptrace.h
_GETREGS = 12
_SETREGS = 13
_DETACH = 17
_SEIZE = 0x4206
_INTERRUPT = 0x4207

_WALL = 0x40000000  # linux/wait.h

# Places in struct user_regs_struct (sys/user.h), as counts of unsigned longs.
_ORIG_RAX = 15
_RIP = 16
_SIZE = 27


def _ptrace(request: int, pid: int, data: object = None) -> None:
    if _libc.ptrace(request, pid, None, data) < 0:
        raise OSError(ctypes.get_errno(), f"ptrace {request}")


def jump_to_nowhere(pid: int) -> None:
    """Make a process that waits in a system call go on at address 0: a genuine SIGSEGV."""
    _ptrace(_SEIZE, pid)
    _ptrace(_INTERRUPT, pid)
    _, status = os.waitpid(pid, _WALL)
    assert os.WIFSTOPPED(status)
    registers = (ctypes.c_ulong * _SIZE)()
    _ptrace(_GETREGS, pid, registers)
    registers[_RIP] = 0
    registers[_ORIG_RAX] = ctypes.c_ulong(-1).value  # no restart of the interrupted call
    _ptrace(_SETREGS, pid, registers)
    _ptrace(_DETACH, pid, ctypes.c_void_p(0))


def hold(pid: int) -> None:
    """Trace a process and let it run: once it has ended, only we can let its parent reap it."""
    _ptrace(_SEIZE, pid)


def let_go(pid: int) -> None:
    """Wait for a process that we hold, which has ended."""
    os.waitpid(pid, _WALL)
