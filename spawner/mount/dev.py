"""The steps that mount a directory of devices."""

import posix

from spawner import linux
from spawner.errors import INIT, SetupError
from spawner.mount.copies import clone_words, copy_mounts
from spawner.mount.flags import below, gone, number
from spawner.mount.ground import Ground, mount_step
from spawner.mount.mounts import Bind, Dev, Tmpfs
from spawner.spec import Frozen
from spawner.steps import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spawner.host.proc import Mount
    from spawner.linux import Kernel
    from spawner.mount.entry import Entry

DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9),
           "tty": (5, 0)}  # fmt: skip
"""The devices that programs rely on, by their numbers, null(4), random(4), tty(4)."""

LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2",
         "ptmx": "pts/ptmx"}  # fmt: skip
"""The symbolic links in /dev, proc_pid_fd(5), pts(4)."""

_DEV = {"source": "dev", "size": "64K", "nr_inodes": "64", "mode": "0755"}
_SHM = {"source": "shm", "size": "64M", "nr_inodes": "16384", "mode": "1777"}
_PTS = {"source": "devpts", "ptmxmode": "0666", "mode": "0620", "max": "256"}
"""Options of the file systems, tmpfs(5). Each devpts has terminals of its own, pts(4).

`max` of them: those of all containers come out of one number, `/proc/sys/kernel/pty/max`.
"""

_DEVICE_FLAGS = linux.MS_NOSUID | linux.MS_NOEXEC
_DEV_FLAGS = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
_PTS_FLAGS = linux.MS_NOSUID | linux.MS_NOEXEC


class Devices(Frozen):
    """A directory of devices, with their descriptors by name, which the launcher opened."""

    dev: Dev
    held: tuple[tuple[str, int], ...]


def _copy(ground: Ground, kernel: "Kernel", devices: Devices) -> None:
    """Make copies of the mounts of the devices; raises SetupError and SyscallError."""
    for name, held in devices.held:
        path = f"/dev/{name}"
        copy = copy_mounts(kernel, devices.dev.task, path, held, _DEVICE_FLAGS)
        ground.keep(devices.dev, path, copy)


def _make(ground: Ground, kernel: "Kernel", dev: Dev) -> None:
    """Mount a directory, and in it the devices; raises SetupError and SyscallError."""
    ground.mount(kernel, dev, "tmpfs", _DEV, _DEV_FLAGS)
    numbers: dict[str, str] = {}
    for path, copy in ground.kept(dev).items():
        name = path.rpartition("/")[2]
        try:
            ground.mount_copy(kernel, Bind(path, f"{dev.target}/{name}"), copy)
            check_device(kernel, name, copy.mount, INIT)
            numbers[name] = number(kernel, copy.mount)
        finally:
            posix.close(copy.mount)
    check_open(dev, kernel.mounts(ground.proc), numbers)
    inner = {"pts": ("devpts", _PTS, _PTS_FLAGS), "shm": ("tmpfs", _SHM, _DEV_FLAGS)}
    for name, (kind, options, flags) in inner.items():
        ground.mount(kernel, Tmpfs(f"{dev.target}/{name}"), kind, options, flags)
    place, _ = kernel.walk(dev.target, gone)
    try:
        for name, text in LINKS.items():
            kernel.symlink(text, place, name)
    finally:
        posix.close(place)


def check_open(entry: "Entry", mounts: "Sequence[Mount]", numbers: "Mapping[str, str]") -> None:
    """Raise SetupError for a device file that can't be opened; `numbers` are ids of mounts."""
    for name, found in numbers.items():
        if any("nodev" in mount.options for mount in below(mounts, found)):
            raise SetupError(
                f"{entry.task}: /dev/{name} is on a mount with nodev, and can't be opened",
                stage=INIT,
                path=f"/dev/{name}",
                hint="start pyspawn where /dev is mounted without nodev",
            )


def prepare(ground: Ground, devices: Devices) -> Step:
    """Copy the mounts of each device."""
    return mount_step(
        "copy the mounts of the devices",
        f"{clone_words('/dev/null')}, …",
        lambda kernel, _: _copy(ground, kernel, devices),
        topic="copy-source",
    )


def check_device(kernel: "Kernel", name: str, descriptor: int, where: str) -> None:
    """Raise SetupError for a device file that isn't the device of its name."""
    if kernel.device(descriptor) == posix.makedev(*DEVICES[name]):
        return
    numbers = ":".join(map(str, DEVICES[name]))
    raise SetupError(
        f"/dev/{name} isn't the character device {numbers}",
        stage=where,
        path=f"/dev/{name}",
        hint=f"as root, make it anew: `mknod -m 666 /dev/{name} c {numbers.replace(':', ' ')}`",
    )


def make(ground: Ground, dev: Dev) -> Step:
    """Mount a directory, and in it the devices."""
    return mount_step(
        dev.task,
        f'fsmount(fsopen("tmpfs")), move_mount(DEV, "", open("{dev.target}", O_PATH), ""), '
        f'move_mount(NULL, "", open("{dev.target}/null", O_PATH), ""), …, '
        'fsmount(fsopen("devpts")), …',
        lambda kernel, _: _make(ground, kernel, dev),
        topic="mount-dev",
    )
