"""The command lines, variables and statuses of tini, dumb-init and catatonit.

`pyinit` is one when it is called tini, docker-init, dumb-init or catatonit, or with `--as NAME`: so
an image changes its init by changing one file. What each tool accepts and what we do better is in
docs/twins.md. Each command line becomes the same `Settings` that ours becomes, in the tool's room.
"""

from pyinit import OURS, TWINS, AnsweredError, machine


def parse(words: list[bytes]) -> machine.Settings:
    """Return what `words` ask for: a tool's name, and then its command line.

    Raises AnsweredError where the words were answered with a text.
    """
    name = words[0].decode("utf-8", "backslashreplace") if words else ""
    rest = [word.decode("utf-8", "surrogateescape") for word in words[1:]]
    # One room is read, not three.
    if name in ("tini", "docker-init"):
        from pyinit.twins import tini

        return tini.parse(name, rest)
    if name == "dumb-init":
        from pyinit.twins import dumb_init

        return dumb_init.parse(name, rest)
    if name == "catatonit":
        from pyinit.twins import catatonit

        return catatonit.parse(name, rest)
    from pyinit import report

    what = f"{name!r} is not one of" if name else "a name is needed:"
    report.Report().fatal(f"--as: {what} {', '.join(TWINS)}")
    raise AnsweredError(OURS)
