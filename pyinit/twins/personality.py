"""What the twins' command lines have in common: answers, refusals and settings."""

from pyinit import AnsweredError, machine
from pyinit.twins import getopt
from pyinit.twins.twin import WARNING, Twin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, NoReturn


def understood(twin: Twin, options: getopt.Options) -> "Iterator[tuple[str, str]]":
    """Yield the options; print the usage for an option that makes no sense."""
    try:
        yield from options
    except getopt.OptionError as error:
        answer(twin, "usage", f"{error}")


def asked(values: "dict[str, Any]", program: list[str]) -> machine.Settings:
    """Return the settings for a tool's `values` and its program."""
    twin: Twin = values["twin"]
    values["verbose"] = max(0, twin.verbosity - WARNING)
    words = [word.encode("utf-8", "surrogateescape") for word in program]
    return machine.Settings(values, words)


def refuse(twin: Twin, text: str) -> "NoReturn":
    """Report a wrong value of an option, and raise AnsweredError."""
    complain(twin, text)
    raise AnsweredError(twin.failed)


def complain(twin: Twin, text: str) -> None:
    """Report what is wrong, in the style of the tool."""
    from pyinit.twins import voice

    voice.Voice(twin).fatal(text)


def answer(twin: Twin, wanted: str, complaint: str = "") -> "NoReturn":
    """Print the help, version or licence, or the usage after a complaint."""
    from pyinit import outlet

    if wanted == "licence":
        from pyinit.twins import voice

        text = voice.LICENCE
    elif wanted == "version":
        text = twin.version + "\n"
    else:
        text = twin.usage if wanted == "usage" else twin.help
        text = text.format(name=twin.name, version=twin.version)
    if complaint:
        text = f"{twin.name}: {complaint}\n{text}"
    descriptor = 1 if wanted in twin.on_stdout else 2
    if not outlet.answer(descriptor, text.encode("utf-8", "surrogateescape")):
        raise AnsweredError(twin.failed)
    raise AnsweredError(twin.failed if wanted == "usage" else 0)
