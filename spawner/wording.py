"""What the command line says of options, in words for Python: `--setuid 0` becomes `user=0`.

Messages and hints are made where the options are; read only when there's one to show.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, TypeVar

from spawner import joinoptions, keywords, network, options
from spawner.errors import SpawnerError, SpecError
from spawner.spec import NAMESPACES

if TYPE_CHECKING:
    from pyinit.cmdline import UsageError

_Error = TypeVar("_Error", bound=SpawnerError)

NEW = "unshare"
JOINED = "namespaces"
"""The keywords that name kinds of namespaces: of new ones, and of those that are joined."""

_KEYWORDS = {keyword.option: name for name, keyword in keywords.TABLE.items() if keyword.option}
_KEYWORDS |= {"pass-fd": "pass_fds", "target-env": "target_env", "env": "env"}
_MAPS = {"map-root-user": "root", "map-current-user": "current", "map-auto": "auto"}
_OWN = {"map-user": ("map_users", os.geteuid), "map-group": ("map_groups", os.getegid)}
_VALUED = {
    option.long
    for option in (*options.TABLE, *joinoptions.OWN)
    if option.metavar is not None and not option.optional
}
_VALUES = "|".join((*network.KINDS, *NAMESPACES, "private", "slave", "shared", "all", "auto"))
# A value is what looks like one: "--share net", but not the verb in "and --share names it".
_OPTION = re.compile(
    r"(?<![\w/'\"-])--([a-z]+(?:-[a-z]+)*)"
    rf"([ =](?:(?:{_VALUES})\b(?!:)|(?:veth:|[\dA-Z/])[^\s;)]*[^\s;),.:]|\d))?"
)
_SHORT = re.compile(r"(?<!\S)-\w, (?=--)")
"""An option's short name before its long one, in what its help says."""

# `--share net` is ours; `unshare --pid` and what is told of unshare(1) is another tool's.
_OTHERS = re.compile(r"(`[^`-][^`]*`|\(unshare has [^)]*\)?)")


def python(text: str, kinds: str = NEW) -> str:
    """Return a message or hint with keywords in the place of options, where there are any."""

    def keyword(match: re.Match[str]) -> str:
        name, value = match[1], match[2] or ""
        if name in NAMESPACES and value[:1] != "=":
            return f'{kinds}="{name}"{value}'
        if name in _MAPS:
            return f'map="{_MAPS[name]}"{value}'
        if name in _OWN and value:
            other, own = _OWN[name]
            return f'{other}="{value[1:]}:{own()}:1"'
        if name not in _KEYWORDS:
            return match[0]
        if value and (name in _VALUED or value[0] == "="):
            plain = value[1:] if value[1:].isdigit() else f'"{value[1:]}"'
            return f"{_KEYWORDS[name]}={plain}"
        return _KEYWORDS[name] + value

    parts = _OTHERS.split(_SHORT.sub("", text))
    parts[::2] = [_OPTION.sub(keyword, part) for part in parts[::2]]
    return "".join(parts)


def spec_error(error: SpecError | UsageError, kinds: str = NEW) -> SpecError:
    """Return the error that stands in Python for one of the command line's."""
    return noted(SpecError(python(str(error), kinds), error.hint and python(error.hint, kinds)))


def noted(error: _Error) -> _Error:
    """Return an error whose hint is shown below it in a traceback, too."""
    if error.hint:
        error.add_note(f"hint: {error.hint}")
    return error
