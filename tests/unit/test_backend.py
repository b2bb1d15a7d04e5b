"""The process that connects a network: each way in which its start fails leaves nothing."""

from __future__ import annotations

import errno
import os
import posix
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import children
from helpers.kernels import Recording, open_descriptors

from spawner import making
from spawner.errors import SetupError, SyscallError
from spawner.linux import Kernel
from spawner.making import Ear
from spawner.net import aside, resolver, slirpapi
from spawner.net.aside import Backend, Ends
from spawner.net.network import Network, Publish


class Acting(Backend):
    """A backend whose process does what a test says."""

    def __init__(self, act: Callable[[Ends], object]) -> None:
        super().__init__(Network("pasta"))
        self._act = act

    def _serve(self, kernel: Kernel, ends: Ends, launcher: int) -> None:
        self._act(ends)

    def start(self, *words: str) -> None:
        self._send(words)
        self._await()


class Refusing(Kernel):
    """The machine's kernel, which refuses one call of one method."""

    __slots__ = ("_left", "_name")

    def __init__(self, name: str, turn: int) -> None:
        self._name = name
        self._left = turn

    def _asked(self, name: str) -> None:
        if name == self._name:
            self._left -= 1
            if self._left == 0:
                raise SyscallError(name, errno.ENOMEM)

    def pipe(self) -> tuple[int, int]:
        self._asked("pipe")
        return super().pipe()

    def fork_aside(self) -> int:
        self._asked("fork_aside")
        return super().fork_aside()


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    descriptors, processes = open_descriptors(), children.of(os.getpid())
    yield
    assert open_descriptors() == descriptors
    assert children.of(os.getpid()) == processes


def started(act: Callable[[Ends], object], *words: str) -> str:
    """Start a process, and stop it; return why that failed, "" if it didn't."""
    found = Acting(act)
    found.begin(Kernel())
    try:
        found.start(*words)
    except SetupError as error:
        return str(error)
    finally:
        found.stop()
    return ""


def test_words_go_there_and_a_number_comes_back() -> None:
    def serve(ends: Ends) -> None:
        assert aside.read_words(ends.words) == [b"one", b"two \xff"]
        os.write(ends.ready, b"1\n")
        os.read(ends.end, 1)

    assert started(serve, "one", "two \udcff") == ""


@pytest.mark.parametrize(
    ("act", "why"),
    [
        (lambda _: None, "it ended with status 127"),
        (lambda _: aside.complain("first\nthe last line\n"), "the last line"),
        (lambda _: aside.complain("1795612906.5006: no time"), "no time"),
        (lambda _: os.kill(os.getpid(), 9), "it was killed by SIGKILL"),
        (lambda ends: os.write(ends.ready, b"not yet"), "it ended with status 127"),
        (lambda _: os.open("/nosuch", os.O_RDONLY), "No such file or directory"),
        (lambda _: 1 // 0, "unexpected ZeroDivisionError: integer division or modulo by zero"),
    ],
)
def test_a_process_that_ends_is_told_with_its_reason(
    act: Callable[[Ends], object], why: str
) -> None:
    # Words are read first, or the launcher may meet a broken pipe; both are told the same.
    def serve(ends: Ends) -> None:
        aside.read_words(ends.words)
        act(ends)

    assert started(serve, "word") == f"start pasta: {why}"
    assert started(act, "word") == f"start pasta: {why}"


def test_a_process_that_is_never_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aside, "READY", 0.01)
    why = started(lambda ends: os.read(ends.end, 1), "word")
    assert why == "start pasta: it wasn't ready after 0.01 seconds"


def test_the_end_of_the_container_ends_the_wait() -> None:
    reader, writer = os.pipe()
    os.close(writer)
    found = Acting(lambda ends: os.read(ends.end, 1))
    found.watched = frozenset({reader})
    found.begin(Kernel())
    with pytest.raises(SetupError, match="everything was to end meanwhile"):
        found.start("word")
    found.stop()
    os.close(reader)


def test_one_that_waits_for_words_ends_too() -> None:
    found = Acting(lambda ends: aside.read_words(ends.words))
    found.begin(Kernel())
    found.stop()


def test_it_ends_by_itself_when_the_launcher_is_gone() -> None:
    """All that it holds of the launcher are pipes, and they are at their end."""

    def serve(ends: Ends) -> None:
        assert os.read(ends.end, 1) == b""

    found = Acting(serve)
    found.begin(Kernel())
    pidfd = os.pidfd_open(found.pid)
    for descriptor in found.descriptors:
        os.close(descriptor)
    assert children.wait_readable(pidfd)
    os.close(pidfd)
    os.waitpid(found.pid, 0)


@pytest.mark.parametrize(("name", "turn"), [*(("pipe", n) for n in range(1, 5)), ("fork_aside", 1)])
def test_a_start_that_the_kernel_refuses(name: str, turn: int) -> None:
    found = Acting(lambda _: None)
    with pytest.raises(SetupError, match=r"fork for the network pasta: .*ENOMEM"):
        found.begin(Refusing(name, turn))
    found.stop()


# The socket of slirp4netns.


def test_the_directory_of_the_socket_is_private_and_removed() -> None:
    api = slirpapi.Socket()
    directory = Path(api.path).parent
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    Path(api.path).touch()
    api.remove()
    assert not directory.exists()


def test_a_directory_that_can_not_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, _: int) -> None:
        raise OSError(errno.ENOENT, "", path)

    monkeypatch.setattr(posix, "mkdir", refuse)
    with pytest.raises(SyscallError) as raised:
        slirpapi.Socket()
    assert (raised.value.syscall, raised.value.errno) == ("mkdir", errno.ENOENT)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b'{"error": {"desc": "no such port"}}', "slirp4netns refuses: no such port"),
        (b"nonsense", "slirp4netns refuses: its answer makes no sense: b'nonsense'"),
        (b"[]", "slirp4netns refuses: "),
        (b'{"error": 1}', "slirp4netns refuses: "),
        (b'{"return": {"id": 1}}', None),
    ],
)
def test_what_slirp4netns_answers(answer: bytes, message: str | None) -> None:
    import socket
    import threading

    api = slirpapi.Socket()
    ear = Ear(Kernel(), "publish", ())
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(api.path)
        server.listen()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                while connection.recv(4096):
                    continue
                connection.sendall(answer)

        serving = threading.Thread(target=serve)
        serving.start()
        try:
            if message is None:
                api.publish([Publish(80)], ear)
            else:
                with pytest.raises(SetupError) as raised:
                    api.publish([Publish(80)], ear)
                assert str(raised.value) == f"publish 127.0.0.1:80:80/tcp: {message}"
        finally:
            serving.join()
            ear.close()
            api.remove()


# The step that puts the resolver's file in place.


class Placing(Recording):
    """A kernel that opens /etc/resolv.conf as a file of a test's, and may refuse one call."""

    def __init__(self, path: Path, refused: str | None = None) -> None:
        super().__init__()
        self._path = path
        self._refused = refused

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_") or name in ("calls", "open"):
            return super().__getattribute__(name)
        if name == self._refused:
            raise SyscallError(name, errno.EPERM)
        return super().__getattribute__(name)

    def open(self, path: str, flags: int) -> int:
        assert path == "/etc/resolv.conf"
        try:
            return os.open(self._path, flags | os.O_CLOEXEC)
        except OSError as error:
            raise SyscallError("openat", error.errno or 0, path) from None


def test_the_resolver_is_bound_where_the_path_led_before(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("nameserver 127.0.0.53\nsearch example\n")
    kernel = Placing(path)
    resolver.step("10.0.2.3").run(kernel)
    (_, _, etc, *_), (_, new, data), (_, source, target, _, flags, _), last = kernel.calls
    assert etc == "/etc"
    assert data == b"nameserver 10.0.2.3\nsearch example\n"
    assert (source, flags) == (new, 4096)
    assert target.startswith("/proc/self/fd/")
    assert last == ("unmount", "/etc")


@pytest.mark.parametrize("call", ["mount", "make_file", "unmount"])
def test_a_refused_call_is_named(tmp_path: Path, call: str) -> None:
    path = tmp_path / "resolv.conf"
    path.touch()
    with pytest.raises(SetupError) as raised:
        resolver.step("10.0.2.3").run(Placing(path, call))
    assert (raised.value.syscall, raised.value.errno) == (call, errno.EPERM)
    assert raised.value.stage == "init"


def test_no_file_to_cover(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"there's no /etc/resolv\.conf") as raised:
        resolver.step("10.0.2.3").run(Placing(tmp_path / "nosuch"))
    assert raised.value.hint


def test_a_file_that_is_a_pipe_holds_nobody(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    kernel = Placing(path)
    resolver.step("10.0.2.3").run(kernel)
    assert kernel.calls[1][2] == b"nameserver 10.0.2.3\n"


def test_a_signal_to_end_is_heard_while_one_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """And is left for whoever forwards it."""
    monkeypatch.setattr(making.Ear.__init__, "__defaults__", (0.1,))
    found = Acting(lambda ends: os.read(ends.end, 1))
    found.begin(Kernel())
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(SetupError, match="start pasta: got SIGTERM meanwhile") as raised:
            found.start("word")
        assert raised.value.status == 143
        assert signal.sigtimedwait({signal.SIGTERM}, 0) is not None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        found.stop()
