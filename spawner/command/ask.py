"""Parse a full command line, and prepare what it asks for."""

import _signal
import gc
import posix

from pyinit import OURS, errno_text, outlet, show
from pyinit.cmdline import UsageError, check_writable, help_text, parse
from spawner.command import run
from spawner.errors import LAUNCHER, SetupError, SpawnerError
from spawner.linux import Kernel, encode
from spawner.spec import Frozen
from spawner.steps import attempt
from spawner.tell.report import Report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from spawner.caller import Caller
    from spawner.spec import Spec
    from spawner.tell.telling import Telling


class Asked(Frozen):
    """What a command line asks to launch, with the report, the lifelines and pyspawn's descriptors.

    `background` is for programs that don't get the terminal's foreground right away. `telling` is
    the kernel that explains what happens, if that was asked for.
    """

    spec: "Spec"
    report: Report
    lifelines: list[int]
    spared: list[int]
    background: bool
    telling: "Telling | None"


def ask(words: list[str], found: "Caller", parent: int) -> Asked | int:
    """Return what `words` ask to launch, or the exit status of what was done at once.

    `parent` is the process that started us.
    """
    if words[:1] in (["zombies"], ["signals"], ["release"]):
        show(b"pyspawn", list(map(encode, words)))
    if words[:1] in (["zombies"], ["signals"]):
        gc.enable()
        _signal.pthread_sigmask(_signal.SIG_SETMASK, found.mask)
    if words[:1] == ["zombies"]:
        from spawner.command import zombies

        return zombies.main(words[1:])
    if words[:1] == ["signals"]:
        from spawner.command import signals

        return signals.main(words[1:])
    if words[:1] == ["release"]:
        from spawner.command import release

        return release.main(words[1:])
    asked = words
    front: ModuleType = run
    if words[:1] == ["exec"]:
        from spawner.command import exec

        front = exec
    if words[:1] in (["exec"], ["run"]):
        words = words[1:]
    report = Report()
    try:
        if front is not run:
            words = front.split(words)
        values, program = parse(front.TABLE, words)
        if front is run:
            from spawner.command import blanks

            while (found_words := blanks.joined(front.TABLE, words, len(program))) is not None:
                words = found_words
                values, program = parse(front.TABLE, words)
        others = len(program) if front is run else len(program) - 1  # the target is ours
        show(b"pyspawn", list(map(encode, _open_words(asked, others))))
        if values.get("help"):
            return _print(help_text(front.TABLE, front.USAGE, front.FOOTER))
        if values.get("version"):
            from pyinit import __version__

            return _print(f"pyspawn {__version__}\n")
        return _launch(front, values, program, report, found, parent)
    except UsageError as error:
        hint = _known_elsewhere(error, front) or error.hint
        return report.failed(error, hint=hint or f"see {front.HELP}")
    except SpawnerError as error:
        return report.failed(error)


def _open_words(words: list[str], program: int) -> list[str]:
    """Return the words of a command line without the values of --env, which may be secret.

    The last ones, as many as `program` says, are others'.
    """
    found = []
    at = len(words) - program
    before = ""
    for word in words[:at]:
        option = "--env" if before == "--env" else ""
        if word.startswith("--env=") and not option:
            found.append(f"--env={_without_value(word[6:])}")
        else:
            found.append(_without_value(word) if option else word)
        before = "" if option else word
    return found + words[at:]


def _without_value(variable: str) -> str:
    """Return NAME=* for NAME=VALUE, which is never longer, since words are rewritten in place."""
    name, equals, value = variable.partition("=")
    return f"{name}{equals}*" if value else variable


def _known_elsewhere(error: UsageError, front: "ModuleType") -> str | None:
    """Return the hint for an option that pyspawn lacks and a similar tool has."""
    if error.unknown is None:
        return None
    from spawner.command import foreign

    if front is run:
        return foreign.RUN.get(error.unknown) or foreign.attached(str(error))
    if error.unknown[2:] in {option.long for option in run.TABLE if not option.hidden}:
        return (
            "only `pyspawn run` accepts that option: `pyspawn exec` changes nothing in what it "
            "joins"
        )
    return foreign.EXEC.get(error.unknown)


def _launch(
    front: "ModuleType",
    values: "dict[str, Any]",
    program: list[str],
    report: Report,
    found: "Caller",
    parent: int,
) -> Asked | int:
    """Return what to launch, as the options of `front` say.

    Raises UsageError, SpecError and SetupError.
    """
    report.quiet = values.get("quiet", False)
    report.verbose = values.get("verbose", False)
    report.status = _descriptor(values, "json_status", writes=True)
    lifeline = _descriptor(values, "lifeline")
    _descriptor(values, "changes", writes=True)
    spec: Spec = front.spec(values, program, user=found.user, group=found.group)
    if values.get("dry_run"):
        form = "page" if values.get("explain") else values["dry_run"]
        try:
            return _dry_run(spec, found, form)
        except SpawnerError as error:
            return report.failed(error, spec)
    if any(wish.meets_others for wish in spec.wishes):
        from spawner.joining import sealed

        sealed.restart(Kernel(), found, [each for each in (report.status, lifeline) if each])
    lifelines = [] if lifeline is None else [lifeline]
    if spec.die_with_parent:
        lifelines += _parent_lifeline(parent)
    spared = report.get_ready()
    return Asked(
        spec=spec,
        report=report,
        lifelines=lifelines,
        spared=spared,
        background=values.get("background", False),
        telling=_telling(spec) if values.get("explain") else None,
    )


def _telling(spec: "Spec") -> "Telling":
    from spawner.tell.telling import Telling

    return Telling(spec)


def _descriptor(values: "dict[str, Any]", name: str, *, writes: bool = False) -> int | None:
    """Return the open descriptor that an option names, closed on exec; None if it isn't given.

    Raises UsageError, also for one that `writes` and can't.
    """
    descriptor: int | None = values.get(name)
    if descriptor is None:
        return None
    try:
        if writes:
            check_writable(descriptor)
        else:
            posix.fstat(descriptor)
    except OSError as error:
        raise UsageError(
            f"--{name.replace('_', '-')} {descriptor}: {errno_text(error.errno or 0)}",
            "open the descriptor when you start pyspawn, for example with "
            f"`{descriptor}>FILE` in a shell",
        ) from None
    if descriptor > 2:
        posix.set_inheritable(descriptor, False)
    return descriptor


def _parent_lifeline(parent: int) -> list[int]:
    """Return descriptors that become readable when pyspawn's parent process dies.

    A parent outside our PID namespace has no pid here: then the kernel kills us in its place.
    """
    kernel = Kernel()
    what = "watch the process that started pyspawn"
    if parent == 0:
        attempt(LAUNCHER, what, lambda: kernel.set_parent_death_signal(_signal.SIGKILL))
        return []
    found = attempt(LAUNCHER, what, lambda: kernel.pidfd_open(parent))
    if posix.getppid() != parent or _is_adopted(parent):
        raise SetupError("the process that started pyspawn has died already", stage=LAUNCHER)
    return [found]


def _is_adopted(parent: int) -> bool:
    """Tell whether pyspawn's parent had died before it could be watched.

    Then our parent is the process that adopted us, usually of another session: a process is born
    into the session of its parent, setsid(2). One that leads a session, as after setsid(1), can't
    know.
    """
    try:
        session = posix.getsid(0)
        return session not in (posix.getpid(), posix.getsid(parent))
    except OSError:  # denied
        return False


def _dry_run(spec: "Spec", found: "Caller", form: "str | bool") -> int:
    """Print the steps for `spec` in their order; return the exit status.

    In the `form` "json" for programs, in the form "page" with the reasons.
    """
    from spawner import planning
    from spawner.terminal import job

    parts = planning.find(Kernel(), spec, found)
    if any(part.session for part in parts):
        descriptor = next((part.terminal.inner for part in parts if part.terminal), None)
    else:
        ours = job.find()
        descriptor = ours.descriptor if ours is not None and ours.is_ours() else None
    planned = planning.plan(spec, found, parts, terminal=descriptor)
    if form == "page":
        from spawner.tell import explain

        return _print(explain.page(spec, planned, parts))
    if form == "json":
        from pyinit import jsontext

        names = ("process", "what", "call")
        told = planning.told(spec, planned, parts)
        objects = (dict(zip(names, step, strict=True)) for step in told)
        return _print("".join(f"{jsontext.dump(step)}\n" for step in objects))
    return _print("".join(f"{line}\n" for line in planning.lines(spec, planned, parts)))


def _print(text: str) -> int:
    """Print what was asked for to stdout; return the exit status."""
    return 0 if outlet.answer(1, text.encode("utf-8", "backslashreplace")) else OURS
