"""The part for mounts beyond those of a plain run."""

import posix
from errno import ENOENT

from spawner.errors import LAUNCHER, SetupError, SyscallError, mark
from spawner.linux import named
from spawner.mount import steps
from spawner.mount.files import File, Mask
from spawner.mount.mounts import Bind, Dev, Overlay, empty_root, overlays, root_overlay
from spawner.steps import MOUNTS, PLACE, Part, attempt, failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from spawner.caller import Caller
    from spawner.linux import Kernel
    from spawner.mount.changes import Watch
    from spawner.mount.cover import Masks
    from spawner.mount.dev import Devices
    from spawner.mount.operations import Source
    from spawner.mount.root import Root
    from spawner.mount.tree import Tree
    from spawner.mount.upper import Upper
    from spawner.spec import Spec
    from spawner.steps import Look, Step

OPEN = "open what is to be bound"


class Mounts(Part):
    """The part that gives the new mount namespace its propagation, its /proc and its mounts.

    It holds the sources of binds, which are opened outside; the init compares what it binds.
    """

    def __init__(self, tree: "Tree", spec: "Spec") -> None:
        self._tree = tree
        self._spec = spec
        self._overlay = root_overlay(tree.entries)
        self._entries = [each for each in tree.entries if each is not self._overlay]
        self._held: list[int] = []
        self._sources: list[Source] = []
        self._root: Root | None = None
        self._devices: list[Devices] = []
        self._uppers: list[Upper] = []
        self._masks: Masks | None = None
        self._watch: Watch | None = None
        self.looks: list[Look] = []

    @property
    def stations(self) -> "Mapping[str, Callable[[], Iterable[Step]]]":
        """Return the steps for the mounts, by station of the plan.

        And for the working directory, where there's a root of its own: a link of /proc to an open
        directory would lead out of it.
        """
        found: dict[str, Callable[[], Iterable[Step]]] = {MOUNTS: self._inside}
        if self._root is not None or empty_root(self._tree.entries) is not None:
            found[PLACE] = self._place
        return found

    def _place(self) -> "Iterator[Step]":
        if self._spec.workdir is not None:
            yield steps.change_directory(self._spec.workdir)

    def _inside(self) -> "Iterator[Step]":
        stays = not (self._spec.workdir or "").startswith("/")
        yield from steps.inside(
            self._tree,
            self._entries,
            self._sources,
            stays=stays,
            root=self._root,
            devices=self._devices,
            uppers=self._uppers,
            masks=self._masks,
            watch=self._watch,
        )
        if (self._entries or self._root) and self._spec.init == "":
            from spawner.mount.root import find_init

            yield find_init(self._root)

    def hold(self, kernel: "Kernel") -> None:
        """Open the root, and the source of each bind; raises SetupError."""
        if self._tree.root is not None:
            self._hold_root(kernel, self._tree.root)
        for each in self._tree.entries:
            if isinstance(each, Bind):
                self._hold(kernel, each)
            elif isinstance(each, Dev):
                self._hold_devices(kernel, each)
            elif isinstance(each, Overlay) and each.upper is not None:
                self._hold_upper(kernel, each, each.upper)
            elif isinstance(each, File):
                check_source(each)
        self._hold_masks(kernel, tuple(each for each in self._entries if isinstance(each, Mask)))

    def _hold_upper(self, kernel: "Kernel", overlay: Overlay, path: str) -> None:
        from spawner.mount.upper import Upper

        self.looks.append((LAUNCHER, f"open {path}", f'open("{path}", O_PATH)'))
        found = Upper(kernel, overlay, path)
        self._uppers.append(found)
        self.looks.append((LAUNCHER, found.task, f'mkdir("{found.work_path}", 0700)'))

    def begin(self, kernel: "Kernel") -> None:
        """Make what the kernel needs beside upper directories, and what tells of changes.

        Raises SetupError.
        """
        del kernel
        for each in self._uppers:
            each.make()
        if self._tree.changes is not None:
            from spawner.mount.changes import Watch

            self._watch = Watch(self._tree.changes, overlays(self._tree.entries))

    @property
    def descriptors(self) -> set[int]:
        """The descriptors by which work directories are removed, and changes are told."""
        found = {held for each in self._uppers for held in each.descriptors}
        return found if self._watch is None else found | self._watch.descriptors

    def stop(self) -> list[int]:
        """Tell of changes, and remove what was made beside upper directories."""
        watch, self._watch = self._watch, None
        told = [] if watch is None else [watch.tell()]
        told += [each.remove() for each in self._uppers]
        self.leftover = "; ".join(filter(None, told))
        return []

    def _hold_masks(self, kernel: "Kernel", masks: tuple[Mask, ...]) -> None:
        if masks:
            from spawner.mount.cover import Masks

            self._masks = Masks(masks, self._hold_device(kernel, "null"))

    def _hold_device(self, kernel: "Kernel", name: str) -> int:
        """Return a descriptor of a device; raises SetupError, also where it's another file."""
        from spawner.mount.dev import check_device

        held = self._open(kernel, f"/dev/{name}", f"open /dev/{name}")
        check_device(kernel, name, held, LAUNCHER)
        return held

    def _hold_devices(self, kernel: "Kernel", dev: Dev) -> None:
        from spawner.mount.dev import DEVICES, Devices

        found = tuple((name, self._hold_device(kernel, name)) for name in DEVICES)
        self._devices.append(Devices(dev, found))

    def _open(self, kernel: "Kernel", path: str, what: str) -> int:
        """Return a descriptor of a bind's source; raises SetupError."""
        self.looks.append((LAUNCHER, OPEN, f'open("{path}", O_PATH)'))
        held = attempt(LAUNCHER, what, lambda: kernel.open_source(path))
        self._held.append(held)
        return held

    def _hold_root(self, kernel: "Kernel", path: str) -> None:
        from spawner.mount.root import Root

        what = f"open the root {path}"
        held = self._open(kernel, path, what)
        self._root = Root(path, self._tree.read_only, held, self._overlay)
        if not attempt(LAUNCHER, what, lambda: kernel.is_directory(held)):
            raise SetupError(
                f"the root {path} isn't a directory",
                stage=LAUNCHER,
                path=path,
                hint="unpack an image first, and name the directory",
            )

    def _hold(self, kernel: "Kernel", bind: Bind) -> None:
        from spawner.mount.operations import Source

        self.looks.append((LAUNCHER, OPEN, f'open("{bind.source}", O_PATH)'))
        try:
            held = kernel.open_source(bind.source)
        except SyscallError as error:
            if error.errno == ENOENT and bind.missing_ok:
                self._entries.remove(bind)
                return
            raise _refused(bind, error) from None
        self._held.append(held)
        if bind.leads_to:
            _check_place(bind, held)
        self._sources.append(Source(bind, held))

    def let_go(self) -> None:
        """Close the descriptors held here, of which the init has copies."""
        for held in self._held:
            posix.close(held)
        self._held = []
        for each in self._uppers:
            each.let_go()
        if self._watch is not None:
            self._watch.let_go()


def find(
    tree: "Tree",
    kernel: "Kernel",
    spec: "Spec",
    caller: "Caller",
    lifelines: "Iterable[int]" = (),
) -> Part:
    """Return the part for the mounts that the options ask for; raises SetupError."""
    del caller, lifelines
    found = Mounts(tree, spec)
    try:
        found.hold(kernel)
    except BaseException:
        found.let_go()
        raise
    return found


def check_source(file: File) -> None:
    """Raise SetupError for a file whose descriptor isn't open."""
    try:
        posix.fstat(file.source)
    except OSError:
        raise SetupError(
            f"{file.task}: descriptor {file.source} isn't open",
            stage=LAUNCHER,
            hint=f"open it when you start pyspawn, as with `{file.source}<FILE` in a shell",
        ) from None


def _check_place(bind: Bind, held: int) -> None:
    """Raise SetupError for an open source that isn't where it has to lead."""
    place = attempt(
        LAUNCHER,
        f"tell where {bind.source} leads",
        lambda: named("readlink", posix.readlink, f"/proc/self/fd/{held}"),
    )
    if place != bind.leads_to:
        raise SetupError(
            f"{bind.source} led to {bind.leads_to} when it was looked at, and leads to {place} now",
            stage=LAUNCHER,
            path=bind.source,
            hint="start it again once nobody changes that path; if nobody should have, see who may "
            "write to the directories on it",
        )


def _refused(bind: Bind, error: SyscallError) -> SetupError:
    """Return the error for a source that can't be opened."""
    if error.errno == ENOENT:
        skips = {
            "bind": mark("--bind-try"),
            "ro-bind": mark("--ro-bind-try"),
            "dev-bind": mark("--dev-bind-try"),
        }
        return SetupError(
            f"there is no {bind.source} to bind on {bind.target}",
            stage=LAUNCHER,
            path=bind.source,
            hint=f"name a path that exists, or use {skips[bind.option]}, which leaves out a "
            "source that doesn't exist",
        )
    return failed(LAUNCHER, f"open {bind.source} to bind it on {bind.target}", error)
