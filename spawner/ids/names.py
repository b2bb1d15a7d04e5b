"""Look up users and groups by name, for the command line and the API.

The names are those of this host: of passwd(5) and group(5), and then of what getent(1) asks, a
directory service perhaps. That is a program since a look-up of our own could not be ended where
the service doesn't answer (`helpers`).
"""

import posix

from spawner.errors import LAUNCHER
from spawner.host import programs
from spawner.host.proc import contents
from spawner.ids import helpers, idmap
from spawner.ids.idmap import MAX_ID
from spawner.linux import Kernel
from spawner.steps import attempt

_FILES = {"passwd": "/etc/passwd", "group": "/etc/group"}

_NEVER = ":,/\0\n \t"
"""Characters that no user or group name contains."""


class User(int):
    """A user id; `group` is the login group of a user who was named, None for a mere number."""

    group: int | None = None


def user(word: str) -> User:
    """Return a user by name or number; raises ValueError, with a message, and SetupError."""
    if word.isascii() and word.isdigit():
        return User(idmap.identity(word))
    number, group = _look("passwd", word)
    found = User(number)
    found.group = group
    return found


def group(word: str) -> int:
    """Return a group by name or number; raises ValueError, with a message, and SetupError."""
    if word.isascii() and word.isdigit():
        return idmap.identity(word)
    return _look("group", word)[0]


def groups(word: str) -> tuple[int, ...]:
    """Return the groups in a list with commas, which may be empty; raises as `group` does."""
    return tuple(map(group, word.split(","))) if word else ()


def _look(database: str, name: str) -> tuple[int, int | None]:
    """Return the id for a name and, for a user, the login group."""
    if not name or name.startswith(("-", "+")) or any(each in name for each in _NEVER):
        idmap.identity(name)  # which says so
    what = f"look up {name} in {_FILES[database]}"
    found = attempt(LAUNCHER, what, lambda: _find(database, name))
    if found is None:
        raise ValueError(idmap.unknown(name, database))
    return found


def _find(database: str, name: str) -> tuple[int, int | None] | None:
    found = numbers(contents(_FILES[database]), name)
    getent = programs.find("getent", posix.environ.get(b"PATH"))
    if found is not None or getent is None:
        return found
    status, out, _ = helpers.ask(Kernel(), (getent, database, name))
    return numbers(out, name) if status == 0 else None


def numbers(text: str, name: str) -> tuple[int, int | None] | None:
    """Return the id and group for a name in the lines of passwd(5) or group(5), or None.

    The third field is the id in both; the fourth is a number in the first alone, the login group.
    """
    for line in text.split("\n"):
        words = line.split(":")
        if words[0] == name and _is_id(words[2:3]):
            return int(words[2]), int(words[3]) if _is_id(words[3:4]) else None
    return None


def _is_id(words: list[str]) -> bool:
    """Tell whether a list begins with something that can be an id."""
    return bool(words) and words[0].isascii() and words[0].isdigit() and int(words[0]) <= MAX_ID
