"""Render the manual pages: the prose of `PAGE.1.in` with the option tables of the commands in it.

    python3 docs/man/render.py DIRECTORY

A page is man(7) with directives, each on a line of its own:

    @option NAME              the option's spelling and its help, as its table has them; prose may
                              follow
    @option COMMAND NAME      the same for an option of a subcommand
    @rest                     every option of the command itself that has no place of its own
    @environment              the variable of each option

and `@VERSION@` anywhere. An option that is placed twice, or isn't there, is an error.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))

import pyinit  # noqa: E402  the checkout's own, whose table this is
from pyinit import options as pyinit_options  # noqa: E402
from pyinit.cmdline import Option  # noqa: E402
from spawner.command import exec, signals, zombies  # noqa: E402
from spawner.command import run as pyspawn_options  # noqa: E402

Tables = dict[str, tuple[Option, ...]]
"""The options of a command, under "", and of each of its subcommands."""


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
    lines = [".PP", ".nf"]
    for option in table:
        if not (option.hidden or option.words_only):
            dashes = option.long.replace("-", "\\-")
            lines.append(f"\\fB{prefix}_{option.name.upper()}\\fR (\\-\\-{dashes})")
    return [*lines, ".fi"]


def render(template: str, tables: Tables, prefix: str) -> str:
    """Return the page made of `template` and `tables`; raises PageError when they disagree."""
    waiting = {
        f"{command} {option.long}".strip(): option
        for command, table in tables.items()
        for option in table
        if not option.hidden
    }
    rest = {option.long for option in tables[""]} - set(re.findall("(?m)^@option (.*)$", template))
    lines: list[str] = []
    for line in template.splitlines():
        directive, _, name = line.partition(" ")
        if directive == "@option":
            if name not in waiting:
                raise PageError(f"@option {name}: no such option, or placed twice")
            lines += paragraph(waiting.pop(name))
        elif directive == "@rest":
            for name in [name for name in waiting if name in rest]:
                lines += paragraph(waiting.pop(name))
        elif directive == "@environment":
            lines += variables(tables[""], prefix)
        else:
            lines.append(line.replace("@VERSION@", pyinit.__version__))
    if waiting:
        raise PageError("options without a place on the page: " + ", ".join(waiting))
    return "\n".join(lines) + "\n"


PAGES: dict[str, tuple[Tables, str]] = {
    "pyinit": ({"": pyinit_options.TABLE}, pyinit_options.PREFIX),
    "pyspawn": (
        {
            "": pyspawn_options.TABLE,
            "exec": exec.OWN,
            "zombies": zombies.TABLE,
            "signals": signals.TABLE,
        },
        "",
    ),
}
"""The tables of each page, and what its variables begin with, where the command reads any."""


def main(directory: str) -> None:
    """Write every page into `directory`, which is made if need be."""
    target = Path(directory)
    target.mkdir(parents=True, exist_ok=True)
    for page, (tables, prefix) in PAGES.items():
        template = (HERE / f"{page}.1.in").read_text()
        try:
            text = render(template, tables, prefix)
        except PageError as error:
            sys.exit(f"docs/man/{page}.1.in: {error}")
        (target / f"{page}.1").write_text(text)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: render.py DIRECTORY")
    main(sys.argv[1])
