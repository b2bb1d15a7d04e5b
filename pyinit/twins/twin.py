"""The base of the twins: what the supervisor needs to know about a tool."""

FATAL = 0
WARNING = 1
INFO = 2
DEBUG = 3
"""Levels of messages, by how grave they are."""


class Twin:
    """A tool that pyinit stands in for.

    `name` is the name by which we were called, `verbosity` is how much to say. `failed` is the exit
    status of all three tools for failures of their own. `help` and `usage` are texts with places
    for `name` and `version`; `on_stdout` lists the answers that go there, and not to stderr.
    `prefix` begins each line, with places for the pid and for the level, by its word in `levels`.
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
