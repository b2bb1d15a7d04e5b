"""getopt(3) and getopt_long(3) as in the C library, for the command lines of other inits.

Short options may be joined, with a value behind the last; long options may be cut short as long as
only one is meant. Options may follow other words (permutation), unless the tool or POSIXLY_CORRECT
in the environment forbids that; `--` ends them.
"""

import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


class OptionError(Exception):
    """A word that is not an option of the tool, or lacks its value; in the C library's words."""


class Options:
    """The options of a command line, as (letter, value) in order; `rest` are then the other words.

    `letters` is as for getopt(3), `p:hv`: a colon says that the letter before needs a value.
    `names` gives each long option its letter. Iterating raises OptionError at a word that makes no
    sense, so that the options before it have been seen.
    """

    def __init__(
        self,
        words: "Sequence[str]",
        letters: str,
        names: "Mapping[str, str] | None" = None,
        *,
        permute: bool,
    ) -> None:
        self.rest: list[str] = []
        self._words = list(words)
        self._letters = letters
        self._names = names or {}
        self._permute = permute

    def __iter__(self) -> "Iterator[tuple[str, str]]":
        """Yield each option; its value is empty if the option has none."""
        while self._words:
            word = self._words.pop(0)
            if word == "--":
                break
            if word == "-" or not word.startswith("-"):
                self.rest.append(word)
                if not self._permute:
                    break
            elif word.startswith("--") and self._names:
                yield self._long(word[2:])
            else:
                yield from self._short(word[1:])
        self.rest += self._words

    def _short(self, cluster: str) -> "Iterator[tuple[str, str]]":
        """Yield the options in the letters that follow a dash."""
        while cluster:
            letter, cluster = cluster[0], cluster[1:]
            if letter == ":" or letter not in self._letters:
                raise OptionError(f"invalid option -- '{letter}'")
            value = ""
            if self._takes_value(letter):
                if not cluster and not self._words:
                    raise OptionError(f"option requires an argument -- '{letter}'")
                value, cluster = cluster or self._words.pop(0), ""
            yield letter, value

    def _long(self, word: str) -> tuple[str, str]:
        """Return (letter, value) for a long option, given without dashes; raises OptionError."""
        given, equals, value = word.partition("=")
        meant = [name for name in self._names if name.startswith(given)]
        if given in self._names:
            meant = [given]
        if not meant:
            raise OptionError(f"unrecognized option '--{word}'")
        if len(meant) > 1:
            several = " ".join(f"'--{name}'" for name in meant)
            raise OptionError(f"option '--{word}' is ambiguous; possibilities: {several}")
        letter = self._names[meant[0]]
        if not self._takes_value(letter):
            if equals:
                raise OptionError(f"option '--{meant[0]}' doesn't allow an argument")
            return letter, ""
        if not equals:
            if not self._words:
                raise OptionError(f"option '--{meant[0]}' requires an argument")
            value = self._words.pop(0)
        return letter, value

    def _takes_value(self, letter: str) -> bool:
        return self._letters[self._letters.index(letter) + 1 :].startswith(":")


def permutes() -> bool:
    """Tell whether options may follow other words, getopt(3)."""
    return b"POSIXLY_CORRECT" not in posix.environ


def integer(text: str) -> tuple[int | None, str]:
    """Return the decimal number at the beginning of `text`, as strtol(3) reads it, and the rest.

    White space and a sign may stand before it. If there is no number: None, and all of `text`.
    """
    digits = text.lstrip(" \t\n\v\f\r")
    sign = -1 if digits.startswith("-") else 1
    if digits.startswith(("-", "+")):
        digits = digits[1:]
    left = digits.lstrip("0123456789")
    found = digits[: len(digits) - len(left)]
    # What is too long for int() is out of every range all the same.
    return (sign * int(found.lstrip("0")[:18] or "0"), left) if found else (None, text)
