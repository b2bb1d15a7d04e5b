"""Functions in namespaces of their own: what they see, what comes back, and what is left."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from helpers import children

import spawner
from spawner import PIPE
from spawner.api import isolate
from spawner.api.isolate import IsolatedError, call

pytestmark = pytest.mark.usefixtures("pidns")

KINDS = {"user": "user", "pid": "pid", "mount": "mnt", "uts": "uts", "ipc": "ipc", "net": "net",
         "cgroup": "cgroup", "time": "time"}  # fmt: skip


def inodes() -> dict[str, int]:
    return {kind: os.stat(f"/proc/self/ns/{name}").st_ino for kind, name in KINDS.items()}


def test_the_result_comes_back() -> None:
    assert call(lambda *words, end: [*words, end], (1, "a"), {"end": None}) == ([1, "a", None], {})


def test_large_results_come_back() -> None:
    assert call(lambda: b"x" * 5_000_000)[0] == b"x" * 5_000_000


def test_everything_that_was_asked_for_is_new() -> None:
    ours = inodes()
    theirs, missing = call(inodes, options={"unshare": "all"})
    assert missing == {}
    assert not set(ours.values()) & set(theirs.values())
    theirs, _ = call(inodes, options={"share": ["ipc", "uts"]})
    shared = {kind for kind in KINDS if ours[kind] == theirs[kind]}
    assert shared == {"ipc", "uts", "net", "time"} | ({"user"} if os.geteuid() == 0 else set())


def test_it_is_a_process_of_its_own_with_its_own_proc_and_root() -> None:
    pid, first, ids = call(
        lambda: (os.getpid(), Path("/proc/1/cmdline").read_bytes(), (os.getuid(), os.getgid()))
    )[0]
    assert pid < 20
    assert b"pyinit" in first
    assert ids == (0, 0)


TAKEN = """
import asyncio, tempfile
async def work():
    return os.getpid()
async def main():
    pids = call(lambda: (asyncio.run(work()), call(os.getpid)[0], child()))[0]
    print(os.getpid(), *pids)
def child():
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.write(writer, b"%d" % call(os.getpid)[0])
        os._exit(0)
    os.close(writer)
    return int(os.read(reader, 9))
print(*forebears)
asyncio.run(main())
"""


@pytest.mark.parametrize("forks", [0, 1, 2])
def test_its_pid_is_none_of_its_forebears(forks: int) -> None:
    """asyncio knows by the pid that a loop that runs was forked away; others do likewise."""
    before = """
import os
forebears = [os.getpid()]
for _ in range(FORKS):
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        os._exit(0)
    forebears.append(os.getpid())
"""
    place = str(Path(spawner.__file__).parent.parent)
    argv = ["-I", "-c", SCRIPT + before.replace("FORKS", str(forks)) + TAKEN, place]
    ended = spawner.run([sys.executable, *argv], stdout=PIPE, text=True, timeout=60)
    assert ended.returncode == 0
    forebears, pids = (line.split() for line in ended.stdout.splitlines())
    assert forebears == [str(2 + number) for number in range(forks + 1)]
    caller, outer, inner, of_a_fork = pids
    assert caller == forebears[-1]
    assert outer not in forebears
    assert inner not in (*forebears, outer)
    assert of_a_fork not in (*forebears, outer)


def test_the_directory_is_ours_or_the_one_asked_for(tmp_path: Path) -> None:
    assert call(os.getcwd)[0] == os.getcwd()
    assert call(os.getcwd, options={"cwd": tmp_path})[0] == str(tmp_path)


def test_what_it_changes_is_changed_in_there_only(tmp_path: Path) -> None:
    state = []

    def change() -> str:
        state.append(1)
        socket.sethostname("elsewhere")
        return os.uname().nodename

    before = os.uname().nodename
    assert call(change)[0] == "elsewhere"
    assert (state, os.uname().nodename) == ([], before)


class SpecialError(Exception):
    def __init__(self, code: int, *, reason: str) -> None:
        super().__init__(code)
        self.reason = reason


def test_exceptions_come_back_with_their_traceback() -> None:
    def fail() -> NoReturn:
        {}["key"]
        raise AssertionError

    with pytest.raises(KeyError, match="key") as caught:
        call(fail)
    (note,) = caught.value.__notes__
    assert note.startswith("in the isolated process:")
    assert '{}["key"]' in note
    assert "spawner" not in note  # how it got there is nothing to read


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), OSError(2, "no", "file")])
def test_every_kind_of_exception_comes_back(error: BaseException) -> None:
    def fail() -> NoReturn:
        raise error

    with pytest.raises(type(error)) as caught:
        call(fail)
    assert caught.value.args == error.args


def test_an_exception_that_does_not_pickle_is_told_in_words() -> None:
    def fail() -> NoReturn:
        raise SpecialError(3, reason="so")

    with pytest.raises(
        IsolatedError, match=r"SpecialError\(3\) can't be sent back: TypeError"
    ) as caught:
        call(fail)
    assert 'raise SpecialError(3, reason="so")' in caught.value.__notes__[0]


class StiffError(Exception):
    """One that takes no attribute, and so no note."""

    def __setattr__(self, name: str, value: object) -> None:
        raise TypeError(name)

    def __getattribute__(self, name: str) -> Any:
        if name == "add_note":
            raise LookupError(name)
        return super().__getattribute__(name)


def test_an_exception_that_takes_no_note_comes_back() -> None:
    def fail() -> NoReturn:
        raise StiffError(5)

    with pytest.raises(StiffError) as caught:
        call(fail)
    assert caught.value.args == (5,)
    assert not hasattr(caught.value, "__notes__")


class Shy:
    """What neither pickles nor shows itself."""

    def __reduce__(self) -> NoReturn:
        raise ValueError("private")

    def __repr__(self) -> NoReturn:
        raise ValueError("private")


def test_a_result_that_can_not_even_be_shown_is_told_in_words() -> None:
    with pytest.raises(
        IsolatedError, match=r"the result <.*\.Shy object at .*> can't be sent back"
    ):
        call(Shy)


def test_a_result_that_does_not_pickle_is_told_in_words() -> None:
    with pytest.raises(IsolatedError, match=r"the result <function .* can't be sent back"):
        call(lambda: lambda: 1)


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (lambda: os._exit(7), "ended its process with status 7"),
        (lambda: os._exit(0), "ended its process with status 0"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "was killed by SIGKILL"),
        (lambda: os.kill(os.getpid(), signal.SIGTERM), "was killed by SIGTERM"),
    ],
)
def test_a_process_that_ends_by_itself(end: Any, words: str) -> None:
    with pytest.raises(IsolatedError, match=words):
        call(end)


class Hang:
    """What hangs, and tells by a pipe that it was reached."""

    def __init__(self) -> None:
        self.reader, self._writer = os.pipe()
        os.set_blocking(self.reader, False)

    def hang(self) -> NoReturn:
        os.write(self._writer, b"!")
        while True:
            signal.pause()

    def was_reached(self) -> bool:
        with contextlib.suppress(BlockingIOError):
            return bool(os.read(self.reader, 4096))
        return False

    def time_out(self, attempt: Callable[[float], object]) -> pytest.ExceptionInfo[Any]:
        """Attempt what times out, with more and more seconds, until it hung before they were over.

        Return the exception.
        """
        for seconds in (0.5, 2, 8, 30):
            with pytest.raises(spawner.TimeoutExpired) as caught:
                attempt(seconds)
            if self.was_reached():
                return caught
        pytest.fail("it never hung in time")

    def close(self) -> None:
        os.close(self.reader)
        os.close(self._writer)


@pytest.fixture
def hang() -> Iterator[Hang]:
    with contextlib.closing(Hang()) as made:
        yield made


@pytest.mark.parametrize("how", ["returns", "raises", "hangs"])
def test_nothing_is_left(how: str, hang: Hang) -> None:
    """Not even a daemon that can't be talked to; its end is an end of file on the pipe."""
    reader, writer = os.pipe()

    def leave() -> None:
        if os.fork() == 0:
            os.setsid()
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            os.write(writer, b"!")
            while True:
                signal.pause()
        assert os.read(reader, 1) == b"!"
        if how == "hangs":
            hang.hang()
        assert how == "returns"

    before = os.listdir("/proc/self/fd"), children.of(os.getpid())
    if how == "hangs":
        hang.time_out(lambda seconds: call(leave, timeout=seconds))
    with pytest.raises(AssertionError) if how == "raises" else contextlib.nullcontext():
        if how != "hangs":
            call(leave)
    assert (os.listdir("/proc/self/fd"), children.of(os.getpid())) == before
    os.close(writer)
    os.set_blocking(reader, False)
    while os.read(reader, 1):  # of one whose time was over before it had read its daemon's word
        continue
    os.close(reader)


@pytest.mark.parametrize("seconds", [0.3, 1e-6])
def test_the_time_out_says_how_long_it_was(seconds: float) -> None:
    """And whose it was, also where the container takes all of it."""
    with pytest.raises(spawner.TimeoutExpired) as caught:
        call(signal.pause, timeout=seconds)
    assert (caught.value.cmd, caught.value.timeout) == ("pause", seconds)


def test_a_time_out_shows_where_it_hung(hang: Hang) -> None:
    def hangs() -> None:
        deeper()

    def deeper() -> None:
        hang.hang()

    caught = hang.time_out(lambda seconds: call(hangs, timeout=seconds))
    shown = traceback.extract_tb(caught.value.__traceback__)
    assert [place.name for place in shown[-3:]] == ["hangs", "deeper", "hang"]
    assert [place.line for place in shown[-3:-1]] == ["deeper()", "hang.hang()"]


def test_a_hang_in_one_inside_another_is_shown_by_each(hang: Hang) -> None:
    def outer() -> list[str]:
        caught = hang.time_out(lambda seconds: call(hang.hang, timeout=seconds))
        return [place.name for place in traceback.extract_tb(caught.value.__traceback__)]

    assert call(outer)[0][-1] == "hang"
    caught = hang.time_out(lambda seconds: call(lambda: call(hang.hang), timeout=seconds))
    names = [place.name for place in traceback.extract_tb(caught.value.__traceback__)]
    last = len(names) - names[::-1].index("<lambda>") - 1
    assert names[last + 1] == "call"


def test_a_crash_shows_where() -> None:
    def crash() -> None:
        os.kill(os.getpid(), signal.SIGSEGV)

    with pytest.raises(IsolatedError, match="was killed by SIGSEGV") as caught:
        call(crash)
    shown = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert (shown.name, shown.line) == ("crash", "os.kill(os.getpid(), signal.SIGSEGV)")


def test_an_interrupt_leaves_nothing() -> None:
    """Nobody in there can send us signals: somebody out here does, when told to."""
    script = 'read -r line; kill -INT "$1"'
    with subprocess.Popen(["sh", "-c", script, "sh", str(os.getpid())], stdin=PIPE) as helper:
        before = children.of(os.getpid())
        word = helper.stdin
        assert word is not None

        def interrupt() -> None:
            os.write(word.fileno(), b"now\n")
            signal.pause()

        with pytest.raises(KeyboardInterrupt):
            call(interrupt)
        helper.wait()
        assert children.of(os.getpid()) <= before


def test_the_end_of_the_caller_ends_it() -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)

        def hang() -> None:
            os.write(writer, b"ready")
            signal.pause()

        call(hang)
        os._exit(0)
    os.close(writer)
    assert os.read(reader, 5) == b"ready"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_output_is_written_once(capfd: pytest.CaptureFixture[str]) -> None:
    sys.stdout.write("before ")
    call(lambda: print("inside"))
    assert capfd.readouterr().out == "before inside\n"


SCRIPT = """
import ctypes, os, signal, sys
sys.path[:0] = [sys.argv[1]]
ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER: what nobody reaps is ours
from spawner.api.isolate import call
"""


def script(code: str) -> subprocess.Popen[str]:
    """Start a program that isolates, in a process group of its own."""
    place = str(Path(spawner.__file__).parent.parent)
    return subprocess.Popen(
        [sys.executable, "-I", "-c", SCRIPT + code, place],
        stdout=PIPE, stderr=PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def test_what_is_in_a_buffer_is_written_once() -> None:
    with script("print('before'); call(lambda: print('inside')); print('after')") as program:
        assert program.communicate() == ("before\ninside\nafter\n", "")


@pytest.mark.parametrize(
    "streams",
    ["None", "object()", "open(os.devnull, 'w')", "open('/dev/full', 'w')"],
    ids=["none", "not a file", "closed", "full"],
)
@pytest.mark.parametrize("inside", [False, True])
def test_streams_that_can_not_be_flushed(streams: str, inside: bool) -> None:
    """Neither the caller's nor the function's are any reason to fail."""
    code = f"""
import os
def spoil():
    sys.stdout = sys.stderr = {streams}
    if hasattr(sys.stdout, "write"):
        print("x" * 10)
        if sys.stdout.name == os.devnull:
            sys.stdout.close()
    return 3
if {inside}:
    result, _ = call(spoil)
else:
    spoil()
    result, _ = call(lambda: 3)
os.write(1, b"%d" % result)
os._exit(0)
"""
    with script(code) as program:
        assert program.communicate() == ("3", "")


def test_an_interrupt_from_the_keyboard_leaves_nothing() -> None:
    """It goes to the whole process group: to the caller, the guest and the function."""
    code = "call(lambda: (print('ready', flush=True), signal.pause()))"
    with script(code) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        os.killpg(program.pid, signal.SIGINT)
        assert program.communicate()[1].rstrip().endswith("KeyboardInterrupt")
    assert program.returncode == -signal.SIGINT


@pytest.mark.parametrize("name", ["chdir", "pipe", "fork", "write", "close", "waitpid", "_exit"])
def test_an_interrupt_means_nothing_to_the_guest(name: str) -> None:
    """At none of its moments: it would leave its child to nobody, and the namespace with it."""
    code = f"""
import os, types
from spawner.api import isolate
def interrupted(*args, **words):
    if os.getppid() == caller:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
    return getattr(os, {name!r})(*args, **words)
caller = os.getpid()
isolate.os = types.SimpleNamespace(**vars(os) | {{{name!r}: interrupted}})
isolate.posix = isolate.os
signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
print(call(lambda: signal.pthread_sigmask(signal.SIG_BLOCK, ())))
print(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
"""
    with script(code) as program:
        assert program.communicate() == ("(set(), {})\nset()\n", "")


def test_a_guest_that_is_killed_leaves_nothing() -> None:
    """By whoever is short of memory, say; its child comes to the caller then, and has to go."""
    code = """
try:
    call(lambda: (print(os.getppid(), flush=True), signal.pause()))
except Exception as error:
    print(error)
"""
    with script(code) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "0\n"  # it has no parent in there
        for pid in children.of(program.pid):
            if b"--pause" not in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
        assert program.stdout.read() == "<lambda> was killed by SIGKILL\n"


def test_a_program_with_threads_can_call() -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        assert call(threading.active_count)[0] == 1
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"share": "pid"}, "its own PID namespace"),
        ({"share": "all"}, "its own PID namespace"),
        *(({name: 1}, f"{name} is for programs") for name in isolate.FOR_PROGRAMS),
        ({"unshare": "nets"}, "nets"),
    ],
)
def test_what_makes_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(spawner.SpecError, match=message):
        call(os.getpid, options=options)


def test_one_inside_another() -> None:
    """What is isolated can isolate, by a command and by a function."""

    def outer() -> tuple[str, str]:
        program = spawner.run(["hostname"], hostname="inner", stdout=PIPE, text=True)
        return program.stdout, call(socket.gethostname, options={"hostname": "innermost"})[0]

    assert call(outer)[0] == ("inner\n", "innermost")


def test_errors_of_its_own_pickle() -> None:
    error = IsolatedError("words")
    assert pickle.loads(pickle.dumps(error)).args == error.args


def test_an_interrupt_as_the_guest_is_forked_ends_it() -> None:
    """The caller may not even know its pid, and has closed what the guest would talk through."""
    code = """
import os, types
from spawner.api import isolate
def fork():
    if os.getpid() == caller and os.fork():
        raise KeyboardInterrupt
    return 0 if os.getpid() != caller and os.getppid() == caller else os.fork()
caller = os.getpid()
isolate.os = types.SimpleNamespace(**vars(os) | {"fork": fork})
try:
    call(signal.pause)
except KeyboardInterrupt:
    print(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
"""
    with script(code) as program:
        assert program.communicate(timeout=60) == ("set()\n", "")


def test_interrupts_that_come_again_while_the_guest_ends_wait_for_it() -> None:
    code = """
import os, types
from spawner.api import isolate
def waitpid(pid, flags):
    if os.getpid() == caller and len(calls) < 3:
        calls.append(pid)
        raise KeyboardInterrupt
    return os.waitpid(pid, flags)
calls, caller = [], os.getpid()
isolate.os = types.SimpleNamespace(**vars(os) | {"waitpid": waitpid})
try:
    call(lambda: 3)
except KeyboardInterrupt:
    print(len(calls), open(f"/proc/self/task/{caller}/children").read())
"""
    with script(code) as program:
        assert program.communicate(timeout=60) == ("3 \n", "")


@pytest.mark.parametrize(
    "who", ["signal.SIG_IGN", "lambda *_: os.waitpid(-1, os.WNOHANG)"], ids=["nobody", "a handler"]
)
def test_a_caller_whose_children_are_reaped_by_others(who: str) -> None:
    code = f"""
import os
who = {who}
def reap(*args):
    try:
        while who(*args)[0]:
            pass
    except ChildProcessError:
        pass
signal.signal(signal.SIGCHLD, reap if callable(who) else who)
print(call(lambda: 3))
print(signal.getsignal(signal.SIGCHLD) == (reap if callable(who) else who))
try:
    call(lambda: os._exit(4))
except Exception as error:
    print(type(error).__name__)
"""
    with script(code) as program:
        assert program.communicate(timeout=60) == ("(3, {})\nTrue\nIsolatedError\n", "")


def test_what_a_handler_of_the_caller_raises_is_raised() -> None:
    """Not taken for the end of a time that nobody set."""
    code = """
def ring(*_):
    raise TimeoutError("rung")
signal.signal(signal.SIGALRM, ring)
signal.setitimer(signal.ITIMER_REAL, 0.2, 0.05)
try:
    call(signal.pause)
except TimeoutError as error:
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(error)
"""
    with script(code) as program:
        assert program.communicate(timeout=60) == ("rung\n", "")


OUTCOMES = """
import os, socket
from spawner.api import isolate
class OddError(Exception):
    def __init__(self, reason, *, code):
        super().__init__(reason)
def chained():
    try:
        (1,)[2] + 3
    except IndexError as error:
        raise ExceptionGroup("all", [error, NameError("name", name="nam")]) from error
def odd():
    raise OddError("reason", code=5)
def outcome(function):
    try:
        call(function, timeout=30)
    except (Exception, ExceptionGroup) as error:
        return error
cases = {
    "returned": lambda: 3, "no pickle": lambda: lambda: 1, "chained": chained, "odd": odd,
    "misspelt attribute": lambda: os.getpidd(), "misspelt name": lambda: lenn(),
    "no syntax": lambda: compile("1 +", "text", "exec"), "error": lambda: open("/nosuch"),
}
"""


def test_nothing_is_imported_after_the_fork() -> None:
    """Another thread may be importing it, and the fork has a copy of the lock that it holds."""
    code = (
        OUTCOMES
        + """
before = ()
def fork():
    global before
    pid = os_fork()
    if not pid:
        before = set(sys.modules)
    return pid
def tell(*told):
    print(case, *sys.modules.keys() - before, file=sys.stderr, flush=True)
    tell_ours(*told)
os_fork, os.fork, tell_ours, isolate._tell = os.fork, fork, isolate._tell, tell
for case in cases:
    outcome(cases[case])
case = "no join"
join = isolate._join
isolate._join = lambda _, new: join(0, new)
print(outcome(chained))
"""
    )
    with script(code) as program:
        stdout, stderr = program.communicate()
        assert stdout.startswith("join the namespaces")
        told = stderr.splitlines()
    cases = ("returned", "no pickle", "chained", "odd", "misspelt attribute", "misspelt name",
             "no syntax", "error", "no join")  # fmt: skip
    assert told == list(cases)


def test_a_module_that_another_thread_is_importing_is_waited_for() -> None:
    """Before the fork, in which that thread would not be there to finish."""
    code = (
        OUTCOMES
        + """
import threading
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "ast" and threading.current_thread() is not threading.main_thread():
            begun.set()
            while not forked.is_set() and "importlib" not in stack():
                os.sched_yield()
def stack():
    frame, files = sys._current_frames()[threading.main_thread().ident], []
    while frame:
        files.append(frame.f_code.co_filename)
        frame = frame.f_back
    return " ".join(files)
def fork():
    pid = os_fork()
    forked.set()
    return pid
for name in "ast", "_ast":
    sys.modules.pop(name, None)
begun, forked = threading.Event(), threading.Event()
os_fork, os.fork = os.fork, fork
sys.meta_path.insert(0, Finder())
thread = threading.Thread(target=__import__, args=("ast",))
thread.start()
begun.wait()
print(type(outcome(chained)).__name__)
thread.join()
"""
    )
    with script(code) as program:
        assert program.communicate(timeout=120) == ("ExceptionGroup\n", "")
