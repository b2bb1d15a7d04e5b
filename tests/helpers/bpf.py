"""Run classic BPF as the kernel does for seccomp(2), to see what a filter answers."""

from __future__ import annotations

import struct
import sys
from collections.abc import Sequence

_ORDER = "<" if sys.byteorder == "little" else ">"


def data(number: int, architecture: int, *arguments: int) -> bytes:
    """Return struct seccomp_data, linux/seccomp.h."""
    filled = [*arguments, *[0] * 6][:6]
    masked = [argument & (1 << 64) - 1 for argument in filled]
    return struct.pack(f"{_ORDER}IIQ6Q", number & 0xFFFFFFFF, architecture, 0, *masked)


def instructions(program: bytes) -> list[tuple[int, int, int, int]]:
    """Return the instructions of a program as (code, jt, jf, k)."""
    return list(struct.iter_unpack(f"{_ORDER}HBBI", program))


def answer(program: Sequence[tuple[int, int, int, int]], read: bytes) -> int:
    """Return what a program says about a call; an error for what the kernel would refuse."""
    held = at = 0
    while True:
        code, if_true, if_false, operand = program[at]
        at += 1
        if code == 0x20:  # BPF_LD | BPF_W | BPF_ABS
            assert operand % 4 == 0
            (held,) = struct.unpack_from(f"{_ORDER}I", read, operand)
        elif code == 0x54:  # BPF_ALU | BPF_AND | BPF_K
            held &= operand
        elif code == 0x05:  # BPF_JMP | BPF_JA
            at += operand
        elif code == 0x15:  # BPF_JMP | BPF_JEQ | BPF_K
            at += if_true if held == operand else if_false
        elif code == 0x35:  # BPF_JMP | BPF_JGE | BPF_K
            at += if_true if held >= operand else if_false
        else:
            assert code == 0x06, f"{code:#x} is not among ours"  # BPF_RET | BPF_K
            return operand
