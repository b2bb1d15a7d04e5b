"""What the containers and the machine are made of, made or fetched once and kept in build/.

Nothing comes from a container registry: the base image is made of Debian's packages, the kernel is
Debian's, and ours is the wheel of this checkout.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import shutil
import signal
import sys
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path

from enginetest.leftovers import POLICY
from enginetest.running import CommandError, complete, succeed

CHECKOUT = Path(__file__).resolve().parents[2]
KEPT = CHECKOUT / "build" / "docker-test"

DEBIAN = (
    *("containerd", "docker.io", "podman", "runc", "uidmap"),
    *("catatonit", "cpio", "docker-compose", "mmdebstrap", "qemu-system-x86", "tini", "util-linux"),
)
"""Packages of the host: the engines, and what makes images and boots kernels."""

SUITE = "bookworm"

BASE = (
    *("dash", "coreutils", "grep", "libc-bin", "make", "procps", "sed"),
    *("python3", "python3-pip", "python3-venv"),
)
"""Packages of the base image, which stands for Docker's library's python:3-slim."""

LEFT_OUT = (
    *("/usr/share/doc/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/man/*"),
    *("/usr/share/perl/*", "/usr/lib/*/perl/*", "/usr/lib/*/libperl.so*"),
)
"""Files of them that nothing here reads (perl comes with debconf)."""

COMPILE = 'chroot "$1" python3 -m compileall -q /usr/lib/python3 /usr/lib/python3.[0-9]*'
"""What Debian's packages do when they are configured, which these are not."""

KERNEL = "linux-image-cloud-amd64"

STARTED = "PIDONE_DOCKER_TEST_STARTED"
"""The environment variable that says when the run began, by the monotonic clock."""

INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What ends a run before its time."""


def say(text: str) -> None:
    """Tell the person who is waiting what is being done."""
    print(f"docker-test: {_since():.0f} s: {text}", file=sys.stderr, flush=True)


def _since() -> float:
    """Return the seconds since the run began, outside and inside its nest alike."""
    return time.monotonic() - float(os.environ.setdefault(STARTED, str(time.monotonic())))


def install_packages() -> None:
    """Install the Debian packages that are missing, and keep their daemons from being started."""
    mine = not POLICY.exists()
    if mine:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    try:
        # Not to be interrupted: what dpkg has begun, it has to end.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTIONS)
        try:
            ended = complete([CHECKOUT / "tools" / "debian", *DEBIAN], patience=600)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    finally:
        if mine:
            POLICY.unlink()
    if ended.stderr:
        print(ended.stderr.strip(), file=sys.stderr, flush=True)
    if ended.returncode:
        raise CommandError("the packages above are needed")


def dependencies() -> None:
    """Install the dependency group `docker-test` beside the checkout, and make it importable.

    Into a directory of its own: nothing else of the project needs it.
    """
    groups = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["dependency-groups"]
    wanted = groups["docker-test"]
    key = _key(sys.version, *wanted)
    place = KEPT / f"python-{key}"
    if not place.is_dir():
        say(f"installing {', '.join(wanted)}")
        making = _fresh(place)
        _pip("install", "--target", making, *wanted)
        making.rename(place)
    sys.path.append(str(place))
    importlib.invalidate_caches()


def wheels(source: Path = CHECKOUT) -> Path:
    """Return a directory with the wheel of `source` and those of what it depends on."""
    place = KEPT / "wheels"
    place.mkdir(parents=True, exist_ok=True)
    for old in place.glob("pidone-*.whl"):
        old.unlink()
    say("building the wheel")
    _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", place, source)
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    if not list(place.glob("psutil-*.whl")):
        _pip("download", "--only-binary=:all:", "--dest", place, *project["dependencies"])
    return place


def downloaded(name: str, wanted: Sequence[str]) -> Path:
    """Return a directory with the wheels of what is wanted and of what that depends on."""
    place = KEPT / f"{name}-{_key(sys.version, *wanted)}"
    if not place.is_dir():
        say(f"fetching {', '.join(wanted)}")
        making = _fresh(place)
        _pip("download", "--only-binary=:all:", "--dest", making, *wanted)
        making.rename(place)
    return place


def base() -> Path:
    """Return the root filesystem of the base image, an archive."""
    place = KEPT / f"base-{_key(SUITE, *BASE, *LEFT_OUT, COMPILE)}.tar"
    if not place.is_file():
        say("making the base image of Debian's packages")
        making = _fresh(place)
        succeed(
            *("unshare", "--mount", "--propagation", "private", "--pid", "--mount-proc"),
            *("--fork", "--kill-child=KILL"),
            *("mmdebstrap", "--quiet", "--variant=extract", f"--include={','.join(BASE)}"),
            *(f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT),
            f"--extract-hook={COMPILE}",
            *("--format=tar", SUITE, making),
            patience=600,
        )
        for old in KEPT.glob("base-*.tar"):
            old.unlink()
        making.rename(place)
    return place


def kernel() -> Path:
    """Return Debian's kernel for virtual machines."""
    place = KEPT / "kernel"
    found = sorted(place.glob("vmlinuz-*"))
    if not found:
        say("fetching a kernel from Debian")
        making = _fresh(place)
        making.mkdir()
        depends = succeed("apt-cache", "depends", "--important", KERNEL).split()
        name = next((word for word in depends if word.startswith("linux-image-")), None)
        name = depends[depends.index("Depends:") + 1] if "Depends:" in depends else name
        if name is None:
            raise CommandError(f"no {KERNEL} among Debian's packages: apt-get update")
        succeed("apt-get", "download", "--quiet", name, cwd=making)
        (package,) = making.glob("*.deb")
        succeed("dpkg-deb", "--extract", package, making / "unpacked")
        for image in (making / "unpacked" / "boot").glob("vmlinuz-*"):
            image.rename(making / image.name)
        shutil.rmtree(making / "unpacked")
        package.unlink()
        shutil.rmtree(place, ignore_errors=True)
        making.rename(place)
        found = sorted(place.glob("vmlinuz-*"))
    return found[-1]


def context(place: Path, source: Path = CHECKOUT) -> None:
    """Lay out the directory that images are built from, with the packages of `source`."""
    here = CHECKOUT / "docker-test"
    shutil.copytree(here / "images", place)
    shutil.copy(here / "guest" / "app.py", place)
    shutil.copytree(wheels(source), place / "wheels")
    shutil.copytree(
        source / "pyinit", place / "pyinit", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy("/usr/bin/tini", place)
    succeed("chmod", "--recursive", "a+rX", place)


def _pip(*words: str | Path) -> None:
    command = words[0]
    succeed(sys.executable, "-I", "-m", "pip", command, "--quiet", "--no-input", *words[1:])


def _fresh(place: Path) -> Path:
    """Return a name beside `place` for what is being made: half of it must not be taken for it."""
    place.parent.mkdir(parents=True, exist_ok=True)
    making = place.with_name(f"{place.name}.{os.getpid()}")
    if making.is_dir():
        shutil.rmtree(making)
    making.unlink(missing_ok=True)
    return making


def _key(*words: str) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:12]
