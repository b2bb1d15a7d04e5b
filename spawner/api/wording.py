"""Translate options in the launcher's messages into Python keywords: `--setuid 0` to `user=0`.

Messages and hints are made where the options are, which mark them (`errors.mark`); read only when
there's one to show.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeVar

from pyinit.cmdline import UsageError
from spawner.api import keywords
from spawner.errors import MARK, SpawnerError, SpecError, mark
from spawner.limit.limits import OF_GROUPS
from spawner.spec import NAMESPACES

if TYPE_CHECKING:
    from collections.abc import Callable

_Error = TypeVar("_Error", bound=SpawnerError)

NEW = "unshare"
JOINED = "namespaces"
"""The keyword that names kinds of namespaces where these are joined; NEW where they are new."""

_KEYWORDS = {keyword.option: name for name, keyword in keywords.TABLE.items() if keyword.option}
_KEYWORDS |= {"pass-fd": "pass_fds", "target-env": "target_env", "env": "env"}
_KEYWORDS |= dict.fromkeys(("rlimit", "nice", "oom-score-adj", "time-limit"), "limits")
_KEYWORDS |= dict.fromkeys(
    ("cap-drop", "cap-add", "no-new-privs", "seccomp", "disable-userns", "landlock"), "rights"
)
_KEYWORDS |= {**OF_GROUPS, "limits": "hold"}
_KEYWORDS |= dict.fromkeys(("bind", "ro-bind", "dev-bind", "tmpfs", "dev", "read-only"), "mounts")
_KEYWORDS |= dict.fromkeys(("overlay", "overlay-upper"), "mounts")
_KEYWORDS |= dict.fromkeys(("proc", "mqueue", "dir", "symlink", "file"), "mounts")
_KEYWORDS |= dict.fromkeys(("ro-bind-data", "mask", "readonly"), "mounts")
_KEYWORDS["rootfs"] = "root"
_KEYWORDS |= dict.fromkeys(("bind-try", "ro-bind-try", "dev-bind-try"), "missing_ok")
_ENTRIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "bind": ("Bind", ()),
    "ro-bind": ("Bind", ("read_only=True",)),
    "dev-bind": ("Bind", ("devices=True",)),
    "tmpfs": ("Tmpfs", ()),
    "overlay": ("Overlay", ()),
    "dev": ("Dev", ()),
    "mask": ("Mask", ()),
    "readonly": ("ReadOnly", ()),
}
"""What stands for a mount in Mounts, with what else it says."""
_MAPS = {option: name for name, option in keywords.MAPS.items()}
_OWN: dict[str, tuple[str, Callable[[], int]]] = {
    "map-user": ("map_users", os.geteuid),
    "map-group": ("map_groups", os.getegid),
}


def python(text: str, kinds: str = NEW) -> str:
    """Return a message or hint with its marked options replaced by keywords.

    `kinds` is the keyword that stands for the flag of a kind of namespace.
    """
    parts = text.split(MARK)
    parts[1::2] = [_keyword(option, kinds) for option in parts[1::2]]
    return "".join(parts)


def _keyword(option: str, kinds: str) -> str:
    """Return the keyword for an option, `--name`, `--name value` or `--name=value`."""
    name, equals, value = option.removeprefix("--").replace(" ", "=", 1).partition("=")
    if name in NAMESPACES and not equals:
        return f'{kinds}="{name}"'
    if name in _MAPS:
        return f'map="{_MAPS[name]}"'
    if name in _OWN:
        keyword, own = _OWN[name]
        return f'{keyword}="{value}:{own()}:1"' if equals else keyword
    if name in _ENTRIES and value and _KEYWORDS.get(name) == "mounts":
        kind, more = _ENTRIES[name]
        values = ", ".join([*(f'"{word}"' for word in value.split(" ")), *more])
        return f"mounts=Mounts([{kind}({values})])"
    if name not in _KEYWORDS:
        return option
    if option == "--init":
        return "init=True"
    if not equals:
        return _KEYWORDS[name]
    return f"{_KEYWORDS[name]}={value}" if value.isdigit() else f'{_KEYWORDS[name]}="{value}"'


def spec_error(error: SpecError | UsageError, kinds: str = NEW) -> SpecError:
    """Return a command line's error as a SpecError whose message names keywords."""
    message, hint = str(error), error.hint
    if isinstance(error, UsageError) and error.refused is not None:
        option, reason = error.refused
        message, hint = f"{mark(f'--{option.long}')}: {reason}", None
    return noted(SpecError(python(message, kinds), hint and python(hint, kinds)))


def noted(error: _Error) -> _Error:
    """Return an error with its hint added as a note to the traceback."""
    if error.hint:
        error.add_note(f"hint: {error.hint}")
    return error
