"""The socket of slirp4netns: its directory, and what it answers."""

from __future__ import annotations

import errno
import posix
import stat
from pathlib import Path

import pytest

from spawner.errors import SetupError, SyscallError
from spawner.linux import Kernel
from spawner.making import Ear
from spawner.net import slirpapi
from spawner.net.network import Publish

pytestmark = pytest.mark.usefixtures("nothing_left")


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
