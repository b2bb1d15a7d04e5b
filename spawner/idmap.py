"""User and group ids inside and outside a user namespace, user_namespaces(7)."""

from spawner.spec import MAX_ID


def identity(word: str) -> int:
    """Return a user or group id; raises ValueError with words for a user."""
    if not (word.isascii() and word.isdigit()) or len(word) > 10 or int(word) > MAX_ID:
        raise ValueError(f"{word!r} is not an id (a number from 0 to {MAX_ID})")
    return int(word)


def one(inside: int, outside: int) -> str:
    """Return the map that gives one id, `outside`, the name `inside` within the namespace.

    It's the only map that the kernel takes from a process without privileges.
    """
    return f"{inside} {outside} 1"
