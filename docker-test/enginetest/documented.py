"""What the documentation shows, done as it stands there.

The install lines of the README run in a container that has its clone; each Dockerfile is built and
held to reaping and stopping; the lines for docker, the compose file and the pods are run with what
they are for. The base image keeps pip from installing into it, as Debian's do, and stands for the
one in their FROM. Nothing leaves the machine: what pip fetches, it finds in a directory.
"""

from __future__ import annotations

import re
import shutil
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from enginetest import cgroups, materials
from enginetest.client import PYTHON, ClientEngine, image
from enginetest.docker import Docker
from enginetest.engine import Order
from enginetest.findings import Finding
from enginetest.podman import Podman
from enginetest.promises import AT_ONCE, SIGTERM_STATUS, image_kept
from enginetest.reading import eventually
from enginetest.running import complete, succeed

ORPHANS = "20"
SERVICE = "myservice"
"""The name of the service, of its module, image and container, in all that is shown."""

MAIN = f"from {SERVICE}.app import storm\n\nstorm({ORPHANS!r})\n"
"""The service: it makes orphans, says how many zombies there are, and waits to be stopped."""

EXPECTED = f"zombies 0 of {ORPHANS}"

OTHER = image("python")
"""The name, meanwhile, of the image that pip may install into."""

PODS_GROUP = "libpod_parent"
"""The cgroup below which podman makes pods of a file, whatever it's told."""


@dataclass(frozen=True)
class Line:
    """A command line after a `$`, and what is shown below it."""

    command: str
    output: str


@dataclass(frozen=True)
class Shown:
    """What is shown."""

    install: tuple[Line, ...]
    docker: tuple[Line, ...]
    dockerfiles: tuple[str, ...]
    compose: str
    pods: tuple[str, ...]


def shown(checkout: Path = materials.CHECKOUT) -> Shown:
    """Return what the pages show; raises ValueError where something isn't there."""
    readme = (checkout / "README.md").read_text()
    page = (checkout / "docs" / "engines.md").read_text()
    yaml = blocks(readme, "yaml") + blocks(page, "yaml")
    (compose,) = (text for text in yaml if text.startswith("services:"))
    found = Shown(
        lines(section(readme, "Install")),
        lines(section(readme, "In an image")),
        tuple(blocks(readme, "dockerfile") + blocks(page, "dockerfile")),
        compose,
        tuple(text for text in yaml if "\nkind: Pod\n" in text),
    )
    if not (found.install and found.docker and found.dockerfiles and found.pods):
        raise ValueError("the pages don't show how to install, or images, or pods")
    return found


def section(text: str, heading: str) -> str:
    """Return what stands under a heading of the second level."""
    (found,) = re.findall(rf"(?ms)^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text)
    return str(found)


def blocks(text: str, language: str) -> list[str]:
    """Return the blocks of code in a language."""
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```", text)


def lines(text: str) -> tuple[Line, ...]:
    """Return the command lines of the console blocks."""
    found = re.findall(r"(?m)^\$ (.*)\n((?:(?!\$ ).*\n)*)", "".join(blocks(text, "console")))
    return tuple(Line(command, output) for command, output in found)


# Outside.


def lay_out(place: Path, context: Path) -> None:
    """Lay out the directories that all of it starts from; takes the network for what pip needs."""
    found = shown()
    ignored = shutil.ignore_patterns(".*", "build", "dist", "__pycache__")
    shutil.copytree(materials.CHECKOUT, place / "clone", ignore=ignored)
    shutil.copytree(_build_wheels(), place / "wheels")
    for number, dockerfile in enumerate(found.dockerfiles):
        _project(place / f"image-{number}", context, dockerfile)
    _project(place / "compose", context, found.dockerfiles[0])
    (place / "compose" / "compose.yaml").write_text(found.compose)
    for number, pod in enumerate(found.pods):
        (place / f"pod-{number}.yaml").write_text(pod)
    succeed("chmod", "--recursive", "a+rX", place)


def _project(place: Path, context: Path, dockerfile: str) -> None:
    """Make the directory of a service's Dockerfile."""
    package = place / SERVICE
    package.mkdir(parents=True)
    shutil.copy(context / "app.py", package)
    (package / "__main__.py").write_text(MAIN)
    (place / "Dockerfile").write_text(dockerfile)
    (wheel,) = (context / "wheels").glob("pidone-*.whl")
    shutil.copy(wheel, place)
    shutil.copytree(context / "pyinit", place / "pyinit")


def _build_wheels() -> Path:
    """Return a directory with the wheels that a build and an installation take."""
    project = tomllib.loads((materials.CHECKOUT / "pyproject.toml").read_text())
    wanted = (*project["build-system"]["requires"], *project["project"]["dependencies"])
    return materials.downloaded("build", wanted)


# Inside.


def besides(engine: ClientEngine, place: Path) -> Iterator[tuple[str, Callable[[], Finding]]]:
    """Yield what is shown for an engine: its name, and what does it, which is to be called then."""
    # Meanwhile the name in FROM is that of an image that pip may not install into.
    engine.cli("tag", PYTHON, OTHER)
    engine.cli("tag", "base", PYTHON)
    try:
        yield from _asked(engine, place, shown())
    finally:
        engine.cli("tag", OTHER, PYTHON)


def _asked(
    engine: ClientEngine, place: Path, found: Shown
) -> Iterator[tuple[str, Callable[[], Finding]]]:
    yield "the README's install lines", partial(install, engine, place, found)
    for number in range(len(found.dockerfiles)):
        yield f"Dockerfile {number + 1} of the pages", partial(built, engine, place, number, found)
    if isinstance(engine, Docker):
        yield "the README's lines for docker", partial(commands, engine, place, found)
        yield "the README's compose file", partial(composed, engine, place)
    if isinstance(engine, Podman):
        for number, text in enumerate(found.pods):
            yield f"pod {number + 1} of the pages", partial(pod, engine, place, number, text)


def install(engine: ClientEngine, place: Path, found: Shown) -> Finding:
    """Run the install lines in a container that has the clone."""
    mark = "---- next ----"
    script = f"\necho '{mark}'\n".join(line.command for line in found.install)
    said = engine.cli(
        *("run", "--rm", "--network", "none", "--cap-add", "SYS_ADMIN", *engine.run_options),
        *("--volume", f"{place / 'clone'}:/clone", "--volume", f"{place / 'wheels'}:/wheels"),
        *("--env", "PIP_NO_INDEX=1", "--env", "PIP_FIND_LINKS=/wheels"),
        *("--workdir", "/clone", "base", "sh", "-e", "-c", script),
    ).split(f"{mark}\n")
    wrong = [
        line.command
        for line, got in zip(found.install, said, strict=True)
        if line.output not in got
    ]
    return Finding(not wrong, f"not as shown: {wrong}" if wrong else f"{len(said)} lines")


def built(engine: ClientEngine, place: Path, number: int, found: Shown) -> Finding:
    """Build a Dockerfile, and run what it says."""
    name = f"shown-{number}"
    engine.cli(
        *("build", "--network", "none", *engine.build_options),
        *("--tag", image(name), place / f"image-{number}"),
    )
    text = found.dockerfiles[number]
    if "--pause" in text:
        return Finding(True, "built")
    users = re.findall(r"(?m)^USER (\d+)", text)
    return image_kept(engine, Order(name, ()), user=users[-1] if users else "0")


def commands(engine: Docker, place: Path, found: Shown) -> Finding:
    """Run the lines for docker in the directory of the first Dockerfile."""
    took = 0.0
    for line in found.docker:
        if line.command.startswith("docker stop"):
            eventually(lambda: _logged(engine, SERVICE), f"{SERVICE} ready")
        started = time.monotonic()
        succeed("sh", "-c", line.command, env=engine.surroundings(), cwd=place / "image-0")
        took = time.monotonic() - started
    finding = _ended(engine, SERVICE, took)
    engine.cli("rm", SERVICE)
    return finding


def composed(engine: Docker, place: Path) -> Finding:
    """Bring the compose file up, and stop it."""
    here = place / "compose"

    def compose(*words: str) -> str:
        return succeed("docker-compose", *words, env=engine.surroundings(), cwd=here)

    try:
        compose("up", "-d")
        name = compose("ps", "-q").strip()
        eventually(lambda: _logged(engine, name), f"{SERVICE} ready")
        started = time.monotonic()
        compose("stop")
        return _ended(engine, name, time.monotonic() - started)
    finally:
        compose("down")


def pod(engine: Podman, place: Path, number: int, text: str) -> Finding:
    """Play a pod, and stop its container as a node does."""
    engine.cli("tag", image("shown-0"), f"localhost/{SERVICE}")
    mine = not any(PODS_GROUP in name for name in cgroups.directories())
    file = place / f"pod-{number}.yaml"
    name = f"{SERVICE}-{SERVICE}"
    try:
        engine.cli("play", "kube", "--network", "none", file)
        eventually(lambda: _logged(engine, name), f"{name} ready")
        first = engine.cli("exec", name, "cat", "/proc/1/cmdline")
        started = time.monotonic()
        engine.cli("stop", "-t", "10", name)
        finding = _ended(engine, name, time.monotonic() - started)
    finally:
        engine.try_cli("pod", "rm", "--force", SERVICE)
        if mine:
            eventually(lambda: _removed(PODS_GROUP), f"the cgroup {PODS_GROUP} removed")
    paused = "shareProcessNamespace: true" in text
    if paused != ("--pause" in first):
        return Finding(False, f"PID 1 is {first}")
    return finding


def _removed(group: str) -> bool:
    try:
        cgroups.remove(group)
    except OSError:
        return False
    return True


def _logged(engine: ClientEngine, name: str) -> bool:
    return "ready" in complete([*engine.client(), "logs", name], engine.environment()).stdout


def _ended(engine: ClientEngine, name: str, took: float) -> Finding:
    """Say how a container did, and how it ended."""
    (line, _) = engine.cli("logs", name).splitlines()
    status = int(engine.cli("inspect", "--format", "{{.State.ExitCode}}", name))
    kept = line == EXPECTED and status == SIGTERM_STATUS and took < AT_ONCE
    return Finding(kept, f"{line}, {status} after {took:.1f} s")
