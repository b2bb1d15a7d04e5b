"""What pyinit promises, each with the check that holds an engine to it."""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from enginetest.engine import APP, Engine, Hardening, Order, RefusalError, running, said_by
from enginetest.findings import Finding, Init
from enginetest.reading import WaitError
from enginetest.terminal import CTRL_C, CTRL_Z

GRACE = 10
"""Seconds between SIGTERM and SIGKILL, the engines' own default."""

AT_ONCE = 5.0
"""Seconds: what ends sooner was not waited for. Even a slow machine stays far below."""

SIGTERM_STATUS = 128 + 15
ORPHANS = 500
PIDS_LIMIT = 40

IMAGES = {Init.PYINIT: "pip", Init.NONE: "plain", Init.ENGINE: "plain", Init.PAUSE: "plain"}
"""The image for each kind of PID 1: the engine brings its own to the one that has none."""

IN_THE_IMAGE = frozenset({Init.PYINIT})
IN_THE_CONTAINER = frozenset({Init.PYINIT, Init.NONE, Init.ENGINE})

Check = Callable[[Engine, Init], Finding]


@dataclass(frozen=True)
class Promise:
    """A promise, how to check it, and whether a container without an init breaks it."""

    key: str
    text: str
    check: Check
    broken_without: bool = False
    inits: frozenset[Init] = frozenset(Init)
    """For whom as PID 1 the question makes sense."""
    of_engines: bool = False
    """Whether it is about the engines' containers alone, and the booted kernel has none."""


def order(init: Init, *mode: str) -> Order:
    """Return the order for one of the modes of guest/app.py."""
    return Order(IMAGES[init], (*APP, *mode), init)


# Stopping.


def stop(engine: Engine, what: Order) -> tuple[float, int, list[str]]:
    """Start a container and stop it once it is ready.

    Returns the seconds that the stop took, the exit status, and the lines after `ready`.
    """
    with running(engine, what) as container:
        said_by(container)
        started = time.monotonic()
        container.stop(GRACE)
        took = time.monotonic() - started
        status = container.wait()
        lines = []
        while (line := container.line()) is not None:
            lines.append(line)
        return took, status, lines


def service(engine: Engine, init: Init) -> Finding:
    """A service without handlers ends as the signal's default action says."""
    took, status, _ = stop(engine, order(init, "serve"))
    kept = status == SIGTERM_STATUS and took < AT_ONCE
    return Finding(kept, f"{status} after {took:.1f} s")


def shell(engine: Engine, init: Init) -> Finding:
    """An app that a shell started is told to stop, and has the time to do what it does then.

    A shell that dies of the signal ends before the app does: `--wait` waits for both. One that
    traps it waits for the app itself, and `-g` is enough.
    """
    app = " ".join([*APP, "graceful; exit $?"])
    dying = replace(order(init), command=("sh", "-c", app))
    trapping = replace(dying, command=("sh", "-c", f"trap : TERM; {app}"))
    if init is Init.PYINIT:
        dying, trapping = replace(dying, image="group"), replace(trapping, image="as-tini")
    kept, said = True, []
    for what in (dying, trapping):
        took, status, lines = stop(engine, what)
        told = "told SIGTERM" in lines
        kept = kept and told and took < AT_ONCE
        said.append(f"{'told' if told else 'not told'}, {status} after {took:.1f} s")
    return Finding(kept, "; with a trap: ".join(said))


# Reaping.


def storm(engine: Engine, init: Init) -> Finding:
    """Orphans that die are gone."""
    with running(engine, order(init, "storm", str(ORPHANS))) as container:
        (line,) = said_by(container)
        return Finding(line == f"zombies 0 of {ORPHANS}", line)


def health(engine: Engine, init: Init) -> Finding:
    """What a health check leaves when the engine ends it is reaped."""
    what = replace(order(init, "serve"), health_check=(*APP, "probe"))
    with running(engine, what) as container:
        said_by(container)
        container.check_health()
        return _no_zombies(container.execute((*APP, "count"))[1])


def executed(engine: Engine, init: Init) -> Finding:
    """What a command leaves that was run with `exec` and timed out is reaped."""
    with running(engine, order(init, "serve")) as container:
        said_by(container)
        seconds, hung = 1, 0
        while hung < 2:
            if "hangs" in container.execute(("timeout", str(seconds), *APP, "probe"))[1]:
                hung += 1
            else:
                seconds *= 2  # the time was over before it had begun to hang
        return _no_zombies(container.execute((*APP, "count"))[1])


def _no_zombies(said: str) -> Finding:
    line = said.strip()
    return Finding(line == "zombies 0", line)


def limited(engine: Engine, init: Init) -> Finding:
    """Under a limit of processes, orphans take no place for ever, and a full house is survived."""
    asked = PIDS_LIMIT * 5
    what = replace(order(init, "hoard", str(asked)), pids_limit=PIDS_LIMIT)
    with running(engine, what) as container:
        orphans, crowd = said_by(container)
        first, second = (int(word) for word in crowd.split() if word.isdigit())
        limit_holds = first < PIDS_LIMIT
        kept = orphans == f"orphans {asked} of {asked}" and 0 < first <= second and limit_holds
        return Finding(kept, f"{orphans}, {crowd}")


# The exit status.

ENDINGS: Mapping[str, tuple[tuple[str, ...], int]] = {
    "true": (("true",), 0),
    "exit 42": (("sh", "-c", "exit 42"), 42),
    "kill -9": (("sh", "-c", "kill -9 $$"), 137),
    "kill -TERM": (("sh", "-c", "kill -TERM $$"), 143),
    "not found": (("nosuch",), 127),
    "a directory": (("/etc",), 126),
}


def statuses(engine: Engine, init: Init) -> Finding:
    """Each ending of the workload is the container's."""
    wrong = []
    for name, (command, wanted) in ENDINGS.items():
        got = _status(engine, replace(order(init), command=command))
        # What is no program is refused by the engine, in its own way, where it is the entrypoint.
        refused = got is None and wanted in (126, 127) and init is Init.PAUSE
        if got != wanted and not refused:
            wrong.append(f"{name}: {'refused' if got is None else got}, not {wanted}")
    return Finding(not wrong, "; ".join(wrong) or f"{len(ENDINGS)} of {len(ENDINGS)} right")


def _status(engine: Engine, what: Order) -> int | None:
    try:
        with running(engine, what) as container:
            return container.wait()
    except RefusalError:
        return None


# What else images and their users ask for.


def hardened(engine: Engine, init: Init) -> Finding:
    """A read-only root, an id from nowhere, no capability: reaping and stopping as ever."""
    uid, gid = random.randrange(10000, 60000), random.randrange(10000, 60000)
    what = replace(order(init, "identity"), hardening=Hardening(uid, gid))
    with running(engine, what) as container:
        who, zombies = said_by(container)
        started = time.monotonic()
        container.stop(GRACE)
        took = time.monotonic() - started
        status = container.wait()
    as_asked = who == f"uid {uid} gid {gid} rights 0 written EROFS"
    kept = as_asked and zombies == "zombies 0 of 20" and status == SIGTERM_STATUS
    said = zombies if as_asked else f"{who}, {zombies}"
    return Finding(kept and took < AT_ONCE, f"{said}, {status} after {took:.1f} s")


SANDBOX = ("pyspawn", "--sandbox", "--init", "--", "sh", "-c", "id -u; exit 7")

WORKS = "1000 status 7"
NOT_HERE = "the engine can't start one here"

SWITCHES = ("--security-opt", "--privileged", "securityContext", "sysctl", "unmask")
"""What a message names that says what to change around a container."""


def sandbox(engine: Engine, init: Init) -> Finding:
    """`pyspawn --sandbox` works in a privileged container, and in another says what to change."""
    plain = _sandboxed(engine, order(init, "serve"))
    told = plain.endswith("status 125") and any(switch in plain for switch in SWITCHES)
    try:
        privileged = _sandboxed(engine, replace(order(init, "serve"), privileged=True))
    except (RefusalError, WaitError):  # where docker-test itself hasn't all capabilities
        privileged = NOT_HERE
    kept = (told or plain == WORKS) and privileged in (WORKS, NOT_HERE)
    return Finding(kept, f"plain: {plain}; privileged: {privileged}")


def _sandboxed(engine: Engine, what: Order) -> str:
    """Return what is said by a sandbox in a container, and its status."""
    with running(engine, what) as container:
        said_by(container)
        # An engine takes a status of 125 for its own.
        script = '"$@" 2>&1; echo "status $?"'
        said = container.execute(("sh", "-c", script, "sh", *SANDBOX))[1]
    return " ".join(said.split())


def interactive(engine: Engine, init: Init) -> Finding:
    """An interactive shell at the terminal: ^Z, fg and ^C do what they do, and so does exit."""
    what = replace(order(init), command=("sh", "-i"))
    with engine.converse(what) as talk:
        terminal = talk.terminal
        # In two pieces, so that what is typed can't be mistaken for what is answered.
        terminal.type("echo rea''dy\n")
        terminal.expect("ready$")
        terminal.type(" ".join([*APP, "job\n"]))
        terminal.expect("job started$")
        terminal.type(CTRL_Z)
        terminal.expect("Stopped")
        terminal.type("fg\n")
        terminal.expect("job continued$")
        terminal.type(CTRL_C)
        terminal.type("echo sta''tus $?\n")
        interrupted = terminal.expect(r"status (\d+)$")[1]
        terminal.type("exit 7\n")
        status = talk.wait()
        control = "job control turned off" not in terminal.screen
    kept = control and interrupted == "130" and status == 7
    return Finding(kept, f"^Z, fg, ^C: {interrupted}; exit 7: {status}")


def image(name: str, engine: Engine, init: Init) -> Finding:
    """An image made in another way."""
    return image_kept(engine, Order(name, (*APP, "storm", "20"), init))


def image_kept(engine: Engine, what: Order, user: str | None = None) -> Finding:
    """Python is PID 1, as this user, orphans are reaped, a stop is a stop."""
    with running(engine, what) as container:
        (line,) = said_by(container)
        program = container.execute(("readlink", "/proc/1/exe"))[1].strip()
        owner = container.execute(("stat", "--format", "%u", "/proc/1"))[1].strip()
        started = time.monotonic()
        container.stop(GRACE)
        took = time.monotonic() - started
        status = container.wait()
    kept = line == "zombies 0 of 20" and "/python3" in program and status == SIGTERM_STATUS
    said = line if "/python3" in program else f"PID 1 is {program}, {line}"
    if user not in (None, owner):
        return Finding(False, f"PID 1 is user {owner}'s, {said}")
    return Finding(kept and took < AT_ONCE, f"{said}, {status} after {took:.1f} s")


def _image(name: str, text: str) -> Promise:
    return Promise(name, text, functools.partial(image, name), inits=IN_THE_IMAGE)


PROMISES = (
    Promise("stop", "stop ends a Python service at once, with its own status", service, True),
    Promise("shell", 'sh -c "app" gets the signal, with -g', shell, True, IN_THE_CONTAINER),
    Promise("storm", "no zombies after a storm of orphans", storm, True),
    Promise("health", "health checks that time out leave no zombies", health, True),
    Promise("exec", "exec that times out leaves no zombies", executed, True),
    Promise("pids", "a limit of processes is survived", limited, True),
    Promise("status", "exit statuses are the workload's", statuses, True),
    Promise("hardened", "read-only root, random id, no capabilities", hardened, True),
    Promise("terminal", "-it: a shell has job control", interactive),
    Promise(
        "sandbox",
        "--sandbox in a container works, or says what to change",
        sandbox,
        inits=IN_THE_IMAGE,
        of_engines=True,
    ),
    _image("copied", "image: copied, without pip"),
    _image("as-tini", "image: as tini, by link"),
    _image("as-dumb-init", "image: as dumb-init, by link"),
    _image("multi-stage", "image: multi-stage, venv, USER"),
)
"""The longest waits first: without an init they are the engine's ten seconds."""
