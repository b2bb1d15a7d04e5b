"""Files, directories, links and masks of a container, and the kernel's own file systems in it.

Directories, files and links are made in file systems of the container's own only, such as a tmpfs.
"""

from spawner.errors import SpecError
from spawner.mount.entry import Entry, path_of, target_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from spawner.mount.entry import Path


class Proc(Entry):
    """A proc file system of the container's PID namespace, proc(5).

    One on /proc is there anyway.

    Raises SpecError.
    """

    target: str

    def __init__(self, target: "Path" = "/proc") -> None:
        self._set(target=target_of(target))

    def __str__(self) -> str:
        return f"the proc on {self.target}"

    @property
    def task(self) -> str:
        """What is done, as an imperative."""
        return f"mount another proc on {self.target}"

    @property
    def option(self) -> str:
        """The command-line option for this."""
        return "proc"


class Mqueue(Entry):
    """The message queues of the container's IPC namespace, as files, mq_overview(7).

    Raises SpecError.
    """

    target: str

    def __init__(self, target: "Path" = "/dev/mqueue") -> None:
        self._set(target=target_of(target))

    def __str__(self) -> str:
        return f"the mqueue on {self.target}"

    @property
    def task(self) -> str:
        """What is done, as an imperative."""
        return f"mount the message queues on {self.target}"

    @property
    def option(self) -> str:
        """The command-line option for this."""
        return "mqueue"


class Dir(Entry):
    """A directory, of mode 755, with those that lead to it; nothing is done where it exists.

    Raises SpecError.
    """

    target: str
    covers = False
    stays = False

    def __init__(self, target: "Path") -> None:
        self._set(target=target_of(target))

    def __str__(self) -> str:
        return f"the directory {self.target}"

    @property
    def task(self) -> str:
        """What is done, as an imperative."""
        return f"make the directory {self.target}"

    @property
    def option(self) -> str:
        """The command-line option for this."""
        return "dir"


class File(Entry):
    """A file, of mode 644, with what can be read from the descriptor `source`.

    One that is `read_only` is mounted, so it may also cover a file of the host's, and can't be
    removed. It is read once, to its end, when the container is made, and holds 256M at most.

    Raises SpecError and TypeError.
    """

    source: int
    target: str
    read_only: bool

    def __init__(self, source: int, target: "Path", *, read_only: bool = False) -> None:
        if isinstance(source, bool) or not isinstance(source, int):
            raise TypeError(f"the source of a file is a descriptor, a number, not {source!r}")
        if not 0 <= source < 1 << 31:
            raise SpecError(f"{source} can't be a descriptor")
        self._set(source=source, target=target_of(target), read_only=bool(read_only))

    def __str__(self) -> str:
        return f"the file {self.target}"

    @property
    def task(self) -> str:
        """What is done, as an imperative."""
        if self.read_only:
            return f"bind the data of descriptor {self.source} on {self.target}, read-only"
        return f"make the file {self.target} of descriptor {self.source}"

    @property
    def option(self) -> str:
        """The command-line option for this."""
        return "ro-bind-data" if self.read_only else "file"

    @property
    def words(self) -> tuple[str, ...]:
        """The values of the option."""
        return str(self.source), self.target


class Text(Entry):
    """A file, of mode 644, with the given text; no option makes it, but a preset does.

    Raises SpecError.
    """

    text: str
    target: str
    stays = False

    def __init__(self, text: str, target: "Path") -> None:
        self._set(text=text, target=target_of(target))

    def __str__(self) -> str:
        return f"the file {self.target}"

    @property
    def task(self) -> str:
        """What is done, as an imperative."""
        return f"make the file {self.target}"


class Symlink(Entry):
    """A symbolic link at `target` with the given text.

    Raises SpecError.
    """

    text: str
    target: str
    stays = False

    def __init__(self, text: "Path", target: "Path") -> None:
        self._set(text=path_of("text", text), target=target_of(target))

    def __str__(self) -> str:
        return f"the link {self.target}"

    @property
    def task(self) -> str:
        """What is done, as an imperative."""
        return f"make the link {self.target} to {self.text}"

    @property
    def option(self) -> str:
        """The command-line option for this."""
        return "symlink"

    @property
    def words(self) -> tuple[str, ...]:
        """The values of the option."""
        return self.text, self.target


class Mask(Entry):
    """A cover on a file or directory, whose content is out of reach then.

    On a directory an empty one is mounted, read-only; on anything else /dev/null. Nothing is done
    where there's nothing.

    Raises SpecError.
    """

    target: str

    def __init__(self, target: "Path") -> None:
        self._set(target=target_of(target))

    def __str__(self) -> str:
        return f"the mask on {self.target}"

    @property
    def task(self) -> str:
        """What is done, as an imperative."""
        return f"mask {self.target}"

    @property
    def option(self) -> str:
        """The command-line option for this."""
        return "mask"


class ReadOnly(Entry):
    """A file or directory, with all that is mounted below, made read-only by a bind on itself.

    Raises SpecError.
    """

    target: str
    covers = False

    def __init__(self, target: "Path") -> None:
        self._set(target=target_of(target))

    def __str__(self) -> str:
        return f"the read-only bind of {self.target}"

    @property
    def task(self) -> str:
        """What is done, as an imperative."""
        return f"make {self.target} read-only"

    @property
    def option(self) -> str:
        """The command-line option for this."""
        return "readonly"


def changes(entry: Entry) -> bool:
    """Tell whether an entry adds to what is there, or changes it, and so comes after it."""
    if isinstance(entry, File):
        return not entry.read_only
    return isinstance(entry, (Dir, Symlink, Mask, ReadOnly))
