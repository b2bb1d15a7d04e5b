"""Render the manual pages: the prose of `PAGE.1.in` with the option tables of the commands in it.

    python3 docs/man/render.py DIRECTORY

A page is man(7) with two directives, each on a line of its own:

    @option NAME     the option's spelling and its help, as its table has them; prose may follow
    @environment     one entry for each option that a variable sets too

and `@VERSION@` anywhere. Each option has to be placed exactly once, so that a page can neither
miss one nor describe one that is gone.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))

import pyinit  # noqa: E402  the checkout's own, whose table this is
from pyinit import options  # noqa: E402
from pyinit.cmdline import Option  # noqa: E402
from spawner import cli as spawner_cli  # noqa: E402


class PageError(Exception):
    """A page that doesn't agree with its table."""


def escape(text: str) -> str:
    """Return `text` as roff takes it literally; a dash that starts an option stays a dash."""
    text = text.replace("\\", "\\e")
    text = re.sub(r"(?<![\w-])--?(?=\w)[\w-]*", lambda found: found[0].replace("-", "\\-"), text)
    return "\\&" + text if text.startswith((".", "'")) else text


def heading(option: Option) -> str:
    """Return the tag of an option's paragraph: bold spellings, its value in italics."""
    spellings = [f"\\fB\\-{option.short}\\fR"] if option.short else []
    long = "\\-\\-" + option.long.replace("-", "\\-")
    spellings.append(f"\\fB{long}\\fR")
    value = ""
    if option.metavar is not None:
        metavar = f"\\fI{escape(option.metavar)}\\fR"
        value = f"[={metavar}]" if option.optional else f" {metavar}"
    return ", ".join(spellings) + value


def paragraph(option: Option) -> list[str]:
    """Return the lines that describe one option."""
    return [".TP", heading(option), escape(option.help)]


def variables(table: tuple[Option, ...], prefix: str) -> list[str]:
    """Return the lines that name the environment variable of each option."""
    lines = []
    for option in table:
        if not option.hidden and option.name not in ("help", "version"):
            dashes = option.long.replace("-", "\\-")
            lines += [".TP", f".B {prefix}_{option.name.upper()}", f"See \\fB\\-\\-{dashes}\\fR."]
    return lines


def render(template: str, table: tuple[Option, ...], prefix: str) -> str:
    """Return the page made of `template` and `table`; raises PageError when they disagree."""
    waiting = {option.long: option for option in table if not option.hidden}
    lines: list[str] = []
    for line in template.splitlines():
        directive, _, name = line.partition(" ")
        if directive == "@option":
            if name not in waiting:
                raise PageError(f"@option {name}: no such option, or placed twice")
            lines += paragraph(waiting.pop(name))
        elif directive == "@environment":
            lines += variables(table, prefix)
        else:
            lines.append(line.replace("@VERSION@", pyinit.__version__))
    if waiting:
        raise PageError("options without a place on the page: " + ", ".join(waiting))
    return "\n".join(lines) + "\n"


TABLES = {
    "pyinit": (options.TABLE, options.PREFIX),
    "pyspawn": (spawner_cli.TABLE, spawner_cli.PREFIX),
}
"""Each page's table, and what its variables begin with."""


def main(directory: str) -> None:
    """Write every page into `directory`, which is made if need be."""
    target = Path(directory)
    target.mkdir(parents=True, exist_ok=True)
    for page, (table, prefix) in TABLES.items():
        template = (HERE / f"{page}.1.in").read_text()
        try:
            text = render(template, table, prefix)
        except PageError as error:
            sys.exit(f"docs/man/{page}.1.in: {error}")
        (target / f"{page}.1").write_text(text)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: render.py DIRECTORY")
    main(sys.argv[1])
