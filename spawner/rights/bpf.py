"""Classic BPF for seccomp filters: instructions, and the search for the verdict on a number.

An instruction is (code, jt, jf, k): the operation, how many instructions a jump skips where its
condition is true and where it's false, and the operand, linux/filter.h. What they read is struct
seccomp_data, linux/seccomp.h.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TypeAlias

    Instruction: TypeAlias = tuple[int, int, int, int]
    Instructions: TypeAlias = tuple[Instruction, ...]
    Intervals: TypeAlias = Sequence[tuple[int, Instructions]]

# Operations, linux/bpf_common.h.
_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
_JUMP = 0x05  # BPF_JMP | BPF_JA
_JUMP_IF_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_JUMP_IF_AT_LEAST = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K

# Offsets in struct seccomp_data.
NUMBER = 0
ARCHITECTURE = 4

# Verdicts, seccomp(2).
KILL_PROCESS = 0x80000000
ERRNO = 0x00050000
ALLOW = 0x7FFF0000

_FARTHEST = 255
"""The most instructions that a conditional jump can skip."""


def load(offset: int) -> "Instruction":
    """Load 32 bits of struct seccomp_data."""
    return _LOAD, 0, 0, offset


def mask(bits: int) -> "Instruction":
    """Keep only these bits of what is loaded."""
    return _AND, 0, 0, bits


def give_back(verdict: int) -> "Instructions":
    """End with a verdict."""
    return ((_RETURN, 0, 0, verdict),)


def if_equal(value: int, then: "Instructions") -> "Instructions":
    """Take `then` if what is loaded is `value`, and otherwise go on after it."""
    return ((_JUMP_IF_EQUAL, 0, len(then), value), *then)


def unless_equal(value: int, then: "Instructions") -> "Instructions":
    """Take `then` unless what is loaded is `value`, and otherwise go on after it."""
    return ((_JUMP_IF_EQUAL, len(then), 0, value), *then)


def if_at_least(value: int, then: "Instructions") -> "Instructions":
    """Take `then` if what is loaded isn't below `value`, and otherwise go on after it."""
    return ((_JUMP_IF_AT_LEAST, 0, len(then), value), *then)


def intervals(
    verdicts: "Mapping[int, Instructions]", otherwise: "Instructions"
) -> "list[tuple[int, Instructions]]":
    """Return where each run of numbers with the same verdict begins, and that verdict, from 0 on.

    Numbers that aren't in `verdicts` have the verdict `otherwise`.
    """
    found: list[tuple[int, Instructions]] = []
    for number in range(max(verdicts, default=0) + 2):
        here = verdicts.get(number, otherwise)
        if not found or found[-1][1] != here:
            found.append((number, here))
    return found


def search(runs: "Intervals") -> "Instructions":
    """Return a binary search for the run in which what is loaded lies, with the runs' verdicts.

    What is loaded isn't below the first run's beginning.
    """
    if len(runs) == 1:
        return runs[0][1]
    middle = len(runs) // 2
    below, above = search(runs[:middle]), search(runs[middle:])
    value = runs[middle][0]
    if len(below) <= _FARTHEST:
        return ((_JUMP_IF_AT_LEAST, len(below), 0, value), *below, *above)
    far = (_JUMP, 0, 0, len(below))
    return ((_JUMP_IF_AT_LEAST, 0, 1, value), far, *below, *above)


def assembled(instructions: "Instructions") -> bytes:
    """Return instructions as an array of struct sock_filter in this machine's byte order."""
    import sys

    found = b""
    for code, if_true, if_false, operand in instructions:
        found += code.to_bytes(2, sys.byteorder) + bytes((if_true, if_false))
        found += operand.to_bytes(4, sys.byteorder)
    return found
