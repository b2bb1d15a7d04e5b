"""A tool that `pyinit` stands for: what the supervisor has to know of it, and its words."""

FATAL = 0
WARNING = 1
INFO = 2
DEBUG = 3
"""How much a tool says, and how grave it is."""


class Twin:
    """A tool that we stand for; each has a class of its own, in a room of its own.

    `name` is the one that we were called by, `verbosity` how much to say. Of the class, `failed` is
    the exit status of all three for what they could not do themselves; `help` and `usage` are
    texts with places for the name and the version, and of what is asked for `on_stdout` says what
    goes there; `prefix` begins each line, with places for the level (by its word, of `levels`) and
    the pid.
    """

    __slots__ = ("name", "verbosity")

    failed = 1
    version: str
    help: str
    usage: str
    on_stdout: tuple[str, ...] = ()
    prefix: str
    levels = ("FATAL", "WARN", "INFO", "DEBUG")

    def __init__(self, name: str, verbosity: int = WARNING) -> None:
        self.name = name
        self.verbosity = verbosity

    def exec_status(self, number: int) -> int:
        """Return the tool's exit status for an exec that failed with errno `number`."""
        return self.failed
