"""Names and numbers of signals, signal(7), real-time signals included, without the `signal` module.

`signal` costs 4 ms of start-up (it builds enums); `_signal` holds the same constants and is
built into the interpreter.
"""

import _signal

# Second names of a number (signal(7), "Standard signals"): understood, never shown.
_ALIASES = ("SIGCLD", "SIGPOLL", "SIGIOT")


def _standard() -> dict[str, int]:
    """Return the numbers of the standard signals by name, such as {"SIGTERM": 15}."""
    return {
        name: getattr(_signal, name)
        for name in dir(_signal)
        if name.startswith("SIG") and name[3] != "_" and not name.startswith("SIGRT")
    }


def number(word: str) -> int:
    """Return the number of the signal called `word`: TERM, SIGTERM, 15, RTMIN+3 or SIGRTMAX-1.

    Case doesn't matter. Raises ValueError, with words for a user, for anything that isn't a
    signal of this system (32 and 33 belong to the C library's threads, nptl(7)).
    """
    text = word.upper()
    if text.isascii() and text.isdigit():
        found = int(text) if len(text) < 20 else 0
    else:
        name = text if text.startswith("SIG") else "SIG" + text
        if name.startswith(("SIGRTMIN", "SIGRTMAX")):
            found = _real_time(name)
        else:
            found = _standard().get(name, 0)
    if found not in _signal.valid_signals():
        raise ValueError(f"{word!r} is not a signal (try TERM, SIGTERM, 15 or RTMIN+1)")
    return found


def _real_time(name: str) -> int:
    """Return the number of SIGRTMIN+n or SIGRTMAX-n, or 0 if that is out of range."""
    base = _signal.SIGRTMIN if name.startswith("SIGRTMIN") else _signal.SIGRTMAX
    sign, digits = name[8:9], name[9:]
    if not sign and not digits:
        return base
    if sign not in ("+", "-") or not (digits.isascii() and digits.isdigit()) or len(digits) > 2:
        return 0
    found = base + int(digits) if sign == "+" else base - int(digits)
    return found if _signal.SIGRTMIN <= found <= _signal.SIGRTMAX else 0


def name(signal: int) -> str:
    """Return the name of `signal`, such as "SIGTERM" or "SIGRTMIN+3", or its digits."""
    for known, value in _standard().items():
        if value == signal and known not in _ALIASES:
            return known
    if signal == _signal.SIGRTMAX:
        return "SIGRTMAX"
    if _signal.SIGRTMIN <= signal < _signal.SIGRTMAX:
        offset = signal - _signal.SIGRTMIN
        return f"SIGRTMIN+{offset}" if offset else "SIGRTMIN"
    return str(signal)
