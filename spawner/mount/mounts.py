"""What is mounted in a container, such as binds and tmpfs, as values that check themselves.

They are made in their order, the outer before what lies in it. What a mount would hide of an
earlier one is no use to anybody, and was meant otherwise: it is refused.
"""

import posix

from pyinit import cmdline
from spawner.errors import SpecError, mark
from spawner.mount.entry import ROOT, Entry, hides, normal, path_of, target_of
from spawner.mount.files import Dir, File, Mask, Mqueue, Proc, ReadOnly, Symlink
from spawner.spec import Frozen, check_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from spawner.mount.entry import Path

TMPFS_SIZE = 256 << 20
"""The default size of a tmpfs, in bytes; the kernel's own is half of the memory."""

_BYTES_A_FILE = 4096
_LEAST_FILES = 1024
"""The least number of files that a tmpfs may hold, whatever its size, tmpfs(5)."""

_ROOM = 1 << 20
"""The size of a file system in memory in which there are only a few directories."""

_LARGEST = 2**63 - 1

_TRY = "-try"


class Bind(Entry):
    """A file or directory of the host, with the mounts below it, mounted at another place.

    `source` may be relative, and links lead to what is bound; `target` is an absolute path in the
    container. A bind that is `read_only` is so with all mounts below. Set-user-ID bits have no
    effect, and device files can't be opened unless `devices`. With `missing_ok` nothing is done
    where there is no `source`.

    Raises SpecError.
    """

    source: str
    target: str
    read_only: bool
    devices: bool
    missing_ok: bool
    leads_to = ""  # for `Found`

    def __init__(
        self,
        source: "Path",
        target: "Path",
        *,
        read_only: bool = False,
        devices: bool = False,
        missing_ok: bool = False,
    ) -> None:
        self._set(
            source=path_of("source", source),
            target=target_of(target),
            read_only=bool(read_only),
            devices=bool(devices),
            missing_ok=bool(missing_ok),
        )
        self._check()

    def _check(self) -> None:
        if self.read_only and self.devices:
            raise SpecError(
                f"the bind of {self.source} can't be both read-only and with devices",
                "device files can be written on a read-only mount, too",
            )

    def __str__(self) -> str:
        return f"the bind of {self.source} on {self.target}"

    @property
    def task(self) -> str:
        """What is done, as an imperative."""
        how = ", read-only" if self.read_only else ", with devices" if self.devices else ""
        return f"bind {self.source} on {self.target}{how}"

    @property
    def option(self) -> str:
        """The command-line option for this mount."""
        kind = "ro-bind" if self.read_only else "dev-bind" if self.devices else "bind"
        return kind + (_TRY if self.missing_ok else "")

    @property
    def words(self) -> tuple[str, ...]:
        """The values of the option."""
        return self.source, self.target


class Found(Bind):
    """A bind, read-only and at the same place, of what was found on the host and named by nobody.

    Its source has to lead where it did when it was looked at, `leads_to`, a path without links: who
    may write to a directory on the way may have put a link there since.
    """

    source: str
    target: str
    read_only: bool
    devices: bool
    missing_ok: bool
    leads_to: str

    def __init__(self, source: "Path", leads_to: str) -> None:
        super().__init__(source, source, read_only=True, missing_ok=True)
        self._set(leads_to=leads_to)


class Tmpfs(Entry):
    """A new, empty file system in memory, of at most `size` bytes.

    `target` is an absolute path in the container. It holds a file at most for each 4096 bytes.
    Everybody may write to it, as to /tmp, tmpfs(5). One on `/` becomes the root directory, which
    belongs to whoever makes it, and in which there is only what is mounted.

    Raises SpecError.
    """

    target: str
    size: int

    def __init__(self, target: "Path", *, size: "int | str" = TMPFS_SIZE) -> None:
        self._set(target=target_of(target, root=True), size=_size(size))

    def __str__(self) -> str:
        return f"the tmpfs on {self.target}"

    @property
    def is_root(self) -> bool:
        """Whether it becomes the root directory."""
        return self.target == ROOT

    @property
    def task(self) -> str:
        """What is done, as an imperative."""
        if self.is_root:
            return f"make a tmpfs of at most {shown(self.size)} the root directory"
        return f"mount a tmpfs of at most {shown(self.size)} on {self.target}"

    @property
    def option(self) -> str:
        """The command-line option for this mount."""
        return "tmpfs"

    @property
    def words(self) -> tuple[str, ...]:
        """The value of the option."""
        return (f"{self.target}:size={self.size}",)

    @property
    def files(self) -> int:
        """The most files and directories that the tmpfs can hold."""
        return max(self.size // _BYTES_A_FILE, _LEAST_FILES)


class Dev(Entry):
    """A directory of devices: null, zero, full, random, urandom, tty, pts with ptmx, and shm.

    `target` is an absolute path in the container, mostly /dev. The terminals in pts are the
    container's own, and shm is an empty file system in memory.

    Raises SpecError.
    """

    target: str

    def __init__(self, target: "Path" = "/dev") -> None:
        self._set(target=target_of(target))

    def __str__(self) -> str:
        return f"the devices on {self.target}"

    @property
    def task(self) -> str:
        """What is done, as an imperative."""
        return f"mount the devices on {self.target}"

    @property
    def option(self) -> str:
        """The command-line option for this mount."""
        return "dev"


class Overlay(Entry):
    """A directory that can be written, while the files that are there stay as they are.

    `target` is an absolute path in the container, of a directory of the host's, of the root or of
    an earlier Bind; "/" is a root of its own. What changes is kept in memory, of at most `size`
    bytes, and gone with the container; or it goes to `upper`, a directory of the host's, and stays.
    Set-user-ID bits have no effect there, but in a root.

    Raises SpecError.
    """

    target: str
    size: int | None
    upper: str | None

    def __init__(
        self, target: "Path", *, size: "int | str | None" = None, upper: "Path | None" = None
    ) -> None:
        if upper is None:
            size = _size(TMPFS_SIZE if size is None else size, "an overlay")
        elif size is not None:
            raise SpecError(
                "an overlay has a size, or a directory for what changes",
                "the size is a bound on memory: leave out one of them",
            )
        self._set(
            target=target_of(target, root=True),
            size=size,
            upper=None if upper is None else path_of("upper directory", upper),
        )

    def __str__(self) -> str:
        return f"the overlay on {self.target}"

    @property
    def task(self) -> str:
        """What is done, as an imperative."""
        return f"lay an overlay {self.kept} over {self.target}"

    @property
    def kept(self) -> str:
        """Where what changes is kept, in words."""
        if self.size is None:
            return f"with changes in {self.upper}"
        return f"of at most {shown(self.size)}"

    @property
    def option(self) -> str:
        """The command-line option for this mount."""
        return "overlay" if self.upper is None else "overlay-upper"

    @property
    def words(self) -> tuple[str, ...]:
        """The values of the option."""
        if self.upper is None:
            return (f"{self.target}:size={self.size}",)
        return self.upper, self.target

    @property
    def room(self) -> Tmpfs:
        """The file system in memory in which the overlay is made, and changes are kept, if any."""
        return Tmpfs("/overlay", size=_ROOM if self.size is None else self.size)


class Mounts(Frozen):
    """The mounts of a container, made in their order.

    Each is a Bind, Tmpfs, Dev, Overlay, Proc, Mqueue, Dir, File, Symlink, Mask or ReadOnly.

    `root` is a directory of the host's that becomes the root directory, None for the host's own
    root, or for a Tmpfs on `/`, which comes first; `read_only` makes the root so: that of the
    host's with all that is mounted below, the tmpfs alone.

    Raises SpecError for one that would hide an earlier one, or the container's /proc, and TypeError
    for anything else.
    """

    entries: "tuple[Entry, ...]"
    root: str | None
    read_only: bool

    def __init__(
        self,
        entries: "Iterable[Entry]" = (),
        *,
        root: "Path | None" = None,
        read_only: bool = False,
    ) -> None:
        self._set(
            entries=tuple(entries),
            root=None if root is None else path_of("root", root),
            read_only=bool(read_only),
        )
        self._check()

    def _check(self) -> None:
        for each in self.entries:
            if not isinstance(each, Entry):
                raise TypeError(f"Mounts holds a Bind, a Tmpfs, a Dev and so on, not {each!r}")
        check_order(self.entries)
        check_root(self.root, self.entries, read_only=self.read_only)

    def __repr__(self) -> str:
        more = "" if self.root is None else f", root={self.root!r}"
        more += ", read_only=True" if self.read_only else ""
        return f"Mounts({list(self.entries)!r}{more})"


def empty_root(entries: "Sequence[Entry]") -> Tmpfs | None:
    """Return the tmpfs that becomes the root directory, or None."""
    first = entries[0] if entries else None
    return first if isinstance(first, Tmpfs) and first.is_root else None


def overlays(entries: "Iterable[Entry]") -> tuple[Overlay, ...]:
    """Return the overlays among mounts."""
    return tuple(each for each in entries if isinstance(each, Overlay))


def root_overlay(entries: "Iterable[Entry]") -> Overlay | None:
    """Return the overlay over the root directory, or None."""
    return next((each for each in overlays(entries) if each.target == ROOT), None)


def check_root(root: str | None, entries: "Sequence[Entry]", *, read_only: bool) -> None:
    """Raise SpecError for a root that makes no sense."""
    empty = empty_root(entries)
    if root_overlay(entries) is not None:
        _check_root_overlay(root, read_only=read_only)
    if root is not None:
        check_text("the root", root)
        if not root:
            raise SpecError("the root is an empty path")
        if empty is not None:
            raise SpecError(
                f"{mark('--rootfs')} and {mark('--tmpfs /')} both make the root directory",
                "leave out one of them",
            )
    elif read_only and empty is None:
        raise SpecError(
            "only a root of its own can be read-only",
            f"add {mark('--rootfs DIR')}, or {mark('--tmpfs /')} for an empty one",
        )


def _check_root_overlay(root: str | None, *, read_only: bool) -> None:
    if root is None:
        raise SpecError("the overlay on / is for a root of its own", f"add {mark('--rootfs DIR')}")
    if read_only:
        raise SpecError(
            f"the root {root} can't be both read-only and under an overlay",
            f"nothing is written to {root} with an overlay: leave out {mark('--read-only')}",
        )


def check_order(entries: "Sequence[Entry]", proc: str | None = None) -> None:
    """Raise SpecError for a mount that would hide an earlier one.

    `proc` is where a proc file system is mounted beside /proc.
    """
    order = _Order(proc)
    for number, each in enumerate(entries):
        if isinstance(each, Tmpfs) and each.is_root:
            if number:
                raise SpecError(
                    f"{each} becomes the root directory, and would hide what was mounted earlier",
                    f"name {mark('--tmpfs /')} before all other mounts",
                )
        elif each != Proc() or proc is not None:  # that one is there anyway
            order.add(each)
    _check_descriptors(entries)


class _Order:
    """What is mounted so far, each by its target, and what a later mount must not hide of it."""

    def __init__(self, proc: str | None) -> None:
        self._earlier = {"/proc": "the container's /proc"}
        if proc is not None:
            self._earlier[normal(proc)] = f"the proc on {proc}"
        self._fixed = {*self._earlier}
        self._bound: set[str] = set()
        self._tried: set[str] = set()

    def add(self, entry: "Entry") -> None:
        """Note a mount that comes next; raises SpecError if it would hide an earlier one."""
        target, spared = entry.target, self._spared(entry)
        found = next((at for at in self._earlier if at not in spared and hides(target, at)), None)
        if found is not None:
            raise SpecError(f"{entry} would hide {self._earlier[found]}", _advice(target, found))
        if not entry.stays:
            return
        self._earlier[target] = str(entry)
        (self._tried.add if _is_try(entry) else self._tried.discard)(target)
        (self._bound.add if isinstance(entry, Bind) else self._bound.discard)(target)

    def _spared(self, entry: "Entry") -> set[str]:
        """Return the earlier mounts that one doesn't hide, or may hide.

        That of the root is made before all others, wherever it's named, and a bind shows through an
        overlay. A mask hides whatever is there, but those that are fixed. Of two binds on one
        target that may be missing, one may have no source.
        """
        earlier = {*self._earlier}
        if not entry.covers:
            return earlier
        if isinstance(entry, Mask):
            return earlier - self._fixed
        if isinstance(entry, Overlay):
            return earlier - {ROOT} if entry.target == ROOT else {entry.target} & self._bound
        return {entry.target} & self._tried if _is_try(entry) else set()


def _is_try(entry: "Entry") -> bool:
    return isinstance(entry, Bind) and entry.missing_ok


def _advice(target: str, hidden: str) -> str:
    """Return what to do about a mount on `target` that would hide the one on `hidden`."""
    if hidden == target:
        return "leave one of them out"
    if hidden == "/proc":
        return "mount below another directory, or on each directory that is meant"
    return f"name {target} before what is mounted below it"


def _check_descriptors(entries: "Iterable[Entry]") -> None:
    """Raise SpecError for a descriptor that would be read twice."""
    read: set[int] = set()
    for each in entries:
        if isinstance(each, File):
            if each.source in read:
                raise SpecError(
                    f"descriptor {each.source} is named for two files, and can be read only once",
                    f"bind the file that was made from it: {mark('--bind')}",
                )
            read.add(each.source)


def bind(option: str, source: str, target: str) -> Bind:
    """Return the Bind for an option such as --ro-bind-try; raises SpecError."""
    if ":" in source and not target.startswith("/"):
        first, second = source.split(":")[:2]
        raise SpecError(
            f"{source!r} is one word, and source and target are two: --{option} {first} {second}"
        )
    kind = option.removesuffix(_TRY)
    return Bind(
        source,
        _from_here(target),
        read_only=kind == "ro-bind",
        devices=kind == "dev-bind",
        missing_ok=kind != option,
    )


def point(option: str, *words: str) -> Entry:
    """Return the entry for an option such as --mask; raises SpecError and ValueError."""
    if option in ("file", "ro-bind-data"):
        return File(cmdline.descriptor(words[0]), words[1], read_only=option != "file")
    if option == "symlink":
        return Symlink(*words)
    kinds: dict[str, Callable[[str], Entry]] = {
        "dev": Dev,
        "dir": Dir,
        "mask": Mask,
        "mqueue": Mqueue,
        "proc": Proc,
        "readonly": ReadOnly,
    }
    return kinds[option](*words)


def tmpfs(word: str) -> Tmpfs:
    """Return the Tmpfs for `DST[:size=SIZE]`; raises SpecError."""
    target, size = _sized(word, "a tmpfs")
    return Tmpfs(target) if size is None else Tmpfs(target, size=size)


def overlay(word: str) -> Overlay:
    """Return the Overlay for `DST[:size=SIZE]`; raises SpecError."""
    target, size = _sized(word, "an overlay")
    target = _from_here(target)
    return Overlay(target) if size is None else Overlay(target, size=size)


def _from_here(target: str) -> str:
    """Return a target, of which `.` is the working directory."""
    if target == "." or target.startswith("./"):
        return f"{posix.getcwd().rstrip('/')}/{target}"
    return target


def overlay_upper(upper: str, target: str) -> Overlay:
    """Return the Overlay whose changes go to the directory `upper`; raises SpecError."""
    return Overlay(_from_here(target), upper=upper)


def _sized(word: str, what: str) -> tuple[str, str | None]:
    """Return the target and the size in `DST[:size=SIZE]`; raises SpecError."""
    target, colon, more = word.rpartition(":")
    if not colon or "/" in more:
        if ",size=" in word:
            raise SpecError(f"{word!r}: the size comes after a colon, as in DST:size=SIZE")
        return word, None
    name, equals, size = more.partition("=")
    if name != "size" or not equals:
        raise SpecError(f"{more!r} is not size=SIZE, the only setting of {what}")
    return target, size


def shown(size: int) -> str:
    """Return a size as text, such as 256M."""
    for suffix, factor in (("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)):
        if size % factor == 0:
            return f"{size // factor}{suffix}"
    return str(size)


def options(mounts: Mounts) -> "Iterator[list[str]]":
    """Yield the options that make `mounts`, each with its name and values."""
    if mounts.root is not None:
        yield ["rootfs", mounts.root]
    if mounts.read_only:
        yield ["read-only"]
    for each in mounts.entries:
        yield [each.option, *each.words]


def _size(given: "int | str", what: str = "a tmpfs") -> int:
    """Return a size in bytes; raises SpecError."""
    if isinstance(given, str):
        try:
            given = cmdline.size(given)
        except ValueError as error:
            raise SpecError(f"the size of {what}: {error}") from None
    if isinstance(given, bool) or not isinstance(given, int):
        raise TypeError(f"the size of {what} is a number of bytes, or text, not {given!r}")
    if not 0 < given <= _LARGEST:  # the kernel takes 0 for no bound, tmpfs(5)
        raise SpecError(f"the size of {what} can't be {given} bytes")
    return given
