"""A tool that `pyinit` stands for, and what the supervisor has to know of it."""

FATAL = 0
WARNING = 1
INFO = 2
DEBUG = 3
"""How much a tool says, and how grave it is."""


class Twin:
    """The tool that we stand for; `name` is the one we were called by, `verbosity` how much to say.

    `failed` is the exit status of all three for what they could not do themselves.
    """

    __slots__ = ("name", "tool", "verbosity")

    failed = 1

    def __init__(self, tool: str, name: str, verbosity: int = WARNING) -> None:
        self.tool = tool
        self.name = name
        self.verbosity = verbosity

    def exec_status(self, number: int) -> int:
        """Return the tool's exit status for an exec that failed with errno `number`."""
        import errno

        if self.tool == "tini":
            return {errno.ENOENT: 127, errno.EACCES: 126}.get(number, 1)
        return 2 if self.tool == "dumb-init" else 1
