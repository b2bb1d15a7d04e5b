"""`spawner.run` and `spawner.Process` with real containers: what goes in, what comes out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from helpers import children
from helpers.running import Lines

import spawner
from spawner import PIPE, CompletedProcess, Process, run

pytestmark = pytest.mark.usefixtures("pidns")


def output(*args: Any, **options: Any) -> str:
    """Return what a program printed that has to succeed."""
    return run(list(args), stdout=PIPE, text=True, check=True, **options).stdout


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", code, *arguments]


KINDS = ("cgroup", "ipc", "mount", "net", "pid", "time", "user", "uts")
FILES = {kind: "mnt" if kind == "mount" else kind for kind in KINDS}


def inodes(pid: int | str = "self") -> dict[str, int]:
    return {kind: os.stat(f"/proc/{pid}/ns/{FILES[kind]}").st_ino for kind in KINDS}


# Status


@pytest.mark.parametrize("init", [True, False])
@pytest.mark.parametrize("status", [0, 42, 137, 255])
def test_the_exit_status(init: bool, status: int) -> None:
    ended = run(["sh", "-c", f"exit {status}"], init=init)
    assert (ended.returncode, ended.signal) == (status, None)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGRTMIN])
def test_the_status_of_a_death_by_a_signal(number: int) -> None:
    ended = run(["sh", "-c", f"kill -{number:d} $$"])
    assert (ended.returncode, ended.signal) == (128 + number, number)


def test_check_raises_what_subprocess_raises() -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        run(["sh", "-c", "echo out; echo err >&2; exit 3"], check=True, capture_output=True)
    error = caught.value
    assert (error.returncode, error.stdout, error.stderr) == (3, b"out\n", b"err\n")


# Streams


def test_output_and_errors_are_captured() -> None:
    ended = run(["sh", "-c", "echo out; echo err >&2"], capture_output=True, text=True)
    assert (ended.stdout, ended.stderr) == ("out\n", "err\n")
    assert isinstance(ended, subprocess.CompletedProcess)


def test_a_megabyte_goes_through_in_both_directions() -> None:
    data = os.urandom(1 << 20)
    assert run(["cat"], input=data, capture_output=True).stdout == data


def test_text_is_decoded_as_asked() -> None:
    assert run(["cat"], input="é", stdout=PIPE, encoding="latin-1").stdout == "é"
    assert run(["printf", r"\351"], stdout=PIPE, errors="replace", encoding="utf-8").stdout == "�"


def test_streams_may_be_files_each_other_and_nothing(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w+") as file:
        run(["sh", "-c", "echo out; echo err >&2; cat"], stdin=spawner.DEVNULL, stdout=file,
            stderr=spawner.STDOUT)  # fmt: skip
        assert (tmp_path / "out").read_text() == "out\nerr\n"


def test_a_conversation() -> None:
    with Process(["cat"], stdin=PIPE, stdout=PIPE, text=True, bufsize=1) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for word in ("one", "two"):
            process.stdin.write(word + "\n")
            assert process.stdout.readline() == word + "\n"
    assert process.returncode == 0


# What the program finds


def test_the_environment_is_exactly_the_one_given() -> None:
    raw = run(["/usr/bin/env", "-0"], env={b"A": b"\xff=", b"B C": b""}, stdout=PIPE).stdout
    assert sorted(raw.split(b"\0")) == [b"", b"A=\xff=", b"B C="]


def test_the_environment_is_the_callers_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_THE_CALLER", "1")
    raw = run(["env", "-0"], stdout=PIPE).stdout
    assert b"FROM_THE_CALLER=1" in raw.split(b"\0")
    assert raw == subprocess.run(["env", "-0"], stdout=PIPE, check=True).stdout


def test_the_program_is_looked_up_in_the_given_path(tmp_path: Path) -> None:
    program = tmp_path / "hello"
    program.write_text("#!/bin/sh\necho hello\n")
    program.chmod(0o755)
    assert output("hello", env={"PATH": str(tmp_path)}) == "hello\n"


def test_the_directory(tmp_path: Path) -> None:
    assert output("pwd", cwd=tmp_path) == f"{tmp_path}\n"
    assert output("pwd") == f"{os.getcwd()}\n"
    assert output("/bin/pwd", cwd=os.fsencode(tmp_path)) == f"{tmp_path}\n"


def test_only_the_descriptors_that_were_passed() -> None:
    reader, writer = os.pipe()
    try:
        assert output("ls", "/proc/self/fd") == "0\n1\n2\n3\n"  # 3 is ls's own
        list_and_write = (
            f"import os; os.write({writer}, repr(os.listdir('/proc/self/fd')).encode())"
        )
        assert run(python(list_and_write), pass_fds=[writer]).returncode == 0
        found = {int(name) for name in eval(os.read(reader, 4096))}
        assert found - {writer} <= {0, 1, 2, 3}
    finally:
        os.close(reader)
        os.close(writer)


def test_masks_and_dispositions_are_those_of_a_plain_child() -> None:
    cat = ["grep", "-E", "SigBlk|SigIgn|SigPnd|ShdPnd", "/proc/self/status"]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM})
    try:
        local = subprocess.run(cat, stdout=PIPE, text=True, check=True).stdout
        assert output(*cat) == local
        assert output(*cat, init=False) == local
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# Namespaces


def test_pid_is_the_first_process_as_we_see_it() -> None:
    for init in (True, False):
        with Process(["sleep", "inf"], init=init) as process:
            outer, inner = children.status_field(process.pid, "NSpid").split()[-2:]
            assert (int(outer), int(inner)) == (process.pid, 1)
            process.kill()


def test_namespaces_are_those_of_the_container() -> None:
    ours = inodes()
    with Process(["sleep", "inf"], unshare="all") as process:
        assert process.namespaces == inodes(process.pid)
        assert not set(process.namespaces.values()) & set(ours.values())
        process.kill()


def test_what_is_unshared_and_what_is_shared() -> None:
    ours = inodes()
    with Process(["sleep", "inf"], unshare=("net", "user"), share=["uts", "ipc"]) as process:
        theirs = inodes(process.pid)
        process.kill()
    new = {kind for kind in KINDS if theirs[kind] != ours[kind]}
    assert new == {"cgroup", "mount", "net", "pid", "user"}


def test_pyinit_is_pid_1_unless_it_is_not_wanted(tmp_path: Path) -> None:
    own_pid = ["sh", "-c", "echo $$"]
    assert output(*own_pid) != "1\n"
    assert output(*own_pid, init=False) == "1\n"
    init = tmp_path / "init"
    init.write_text('#!/bin/sh\necho my init: $$\n[ "$1" = -- ] && shift\nexec "$@"\n')
    init.chmod(0o755)
    assert output(*own_pid, init=init).splitlines()[0] == "my init: 1"


def test_mounts() -> None:
    assert output("sh", "-c", "cd /mnt && echo [0-9]*", mount_proc="/mnt") == "1 2\n"
    script = "grep -c master: /proc/self/mountinfo || :"
    assert output("sh", "-c", script, propagation="private", mount_proc=True) == "0\n"


def test_hostname_clocks_and_ids() -> None:
    assert output("cat", "/proc/sys/kernel/hostname", hostname="box") == "box\n"
    clock = python("import time; print(time.clock_gettime(time.CLOCK_BOOTTIME))")

    moved = float(output(*clock, unshare="time", boottime=1_000_000))
    assert 1_000_000 <= moved - time.clock_gettime(time.CLOCK_BOOTTIME) + 60 < 1_000_120
    assert output("id", "-u", unshare="user", map="root") == "0\n"
    assert output("id", "-u", unshare="user", map="current") == f"{os.getuid()}\n"
    own = spawner.IdMap([(7, os.getuid(), 1)])
    assert output("id", "-u", map_users=own) == "7\n"
    assert output("id", "-u", map_users=own.extents, user=7) == "7\n"
    with pytest.raises(spawner.SetupError, match=r"the map 7:.* has no such user inside") as caught:
        output("id", map_users=own, user=0)
    assert 'map_users="0:' in (caught.value.hint or "")


def test_what_may_be_missing_is_not_missing_here() -> None:
    with Process(["sleep", "inf"], unshare_try="time") as process:
        assert process.missing == {}
        assert process.namespaces["time"] != inodes()["time"]
        process.kill()


def test_a_shared_pid_namespace_leaves_nothing_either() -> None:
    reader, writer = os.pipe()
    script = "setsid sh -c 'trap \"\" TERM; echo ready; exec sleep inf' & wait"
    process = Process(["sh", "-c", script], share="pid", stdout=writer)
    os.close(writer)
    lines = Lines(reader)
    assert lines.next() == "ready"
    process.kill()
    process.wait()
    os.set_blocking(reader, False)
    assert os.read(reader, 1) == b""
    os.close(reader)


# Failures


def local_error(args: list[str], **options: Any) -> OSError:
    """Return the exception that subprocess raises for a program that can't be started."""
    with pytest.raises(OSError) as caught:  # noqa: PT011  any kind of it
        subprocess.run(args, **options)
    return caught.value


@pytest.mark.parametrize("init", [True, False])
def test_a_program_that_cannot_be_executed(
    tmp_path: Path, init: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A directory that may not be searched says EACCES for what may not be there at all.
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    plain = tmp_path / "plain"
    plain.write_text("#!/bin/sh\n")
    script = tmp_path / "script"
    script.write_text("#!/nosuch/interpreter\n")
    script.chmod(0o755)
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for program in ("nosuch", "/nosuch", "/etc", str(plain), str(script), f"{plain}/x",
                    str(loop)):  # fmt: skip
        local = local_error([program])
        with pytest.raises(type(local)) as caught:
            run([program], init=init)
        error = caught.value
        assert isinstance(error, spawner.ExecError), program
        assert error.errno == local.errno, program
        assert error.status == (127 if error.errno in (2, 20) else 126), program
        assert program in str(error)
        assert error.path == error.filename == program  # the same with an init and without


def test_a_program_without_a_name_is_not_found() -> None:
    with pytest.raises(FileNotFoundError, match="empty"):
        run([""])


def test_a_directory_that_cannot_be_entered(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for cwd in ("/nosuch", str(tmp_path / "file")):
        local = local_error(["true"], cwd=cwd)
        with pytest.raises(type(local)) as caught:
            run(["true"], cwd=cwd)
        assert isinstance(caught.value, spawner.SetupError)
        assert not isinstance(caught.value, spawner.ExecError)
        assert (caught.value.errno, caught.value.filename) == (local.errno, cwd)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"unshare": "nets"}, "nets"),
        ({"unshare": "net", "share": "net"}, "net"),
        ({"hostname": "x" * 65}, "host name"),
        ({"hostname": "box", "share": "uts"}, "uts"),
        ({"boottime": 5}, "time namespace"),
        ({"stop_signal": "NOSUCH"}, "NOSUCH"),
        ({"stop_signal": 4711}, "4711"),
        ({"stop_timeout": -1}, "-1"),
    ],
)
def test_what_makes_no_sense(options: dict[str, Any], words: str) -> None:
    for kind in (spawner.SpecError, ValueError, spawner.SpawnerError):
        with pytest.raises(kind, match=words):
            run(["true"], **options)


def test_no_program_makes_no_sense() -> None:
    with pytest.raises(spawner.SpecError, match="no program"):
        run([])


def test_errors_say_nothing_on_the_programs_streams(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(spawner.ExecError):
        run(["nosuch"])
    with pytest.raises(spawner.SpecError):
        run(["true"], unshare="nets")
    assert capfd.readouterr() == ("", "")


# Signals

SAY_SIGNALS = """
import signal, sys
numbers = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}
signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
print("ready", flush=True)
while True:
    print(signal.sigwaitinfo(numbers).si_signo, flush=True)
"""


@pytest.mark.parametrize("init", [True, False])
def test_signals_reach_the_program(init: bool) -> None:
    # Continuing what isn't stopped is no news, and job control belongs to the terminal's tests.
    wanted = [signal.SIGUSR1, signal.SIGINT, signal.SIGRTMIN + 3, signal.SIGHUP, signal.SIGTERM]
    with Process(python(SAY_SIGNALS), init=init, stdout=PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for number in wanted:
            process.send_signal(number)
            assert int(process.stdout.readline()) == number
        process.kill()
    assert (process.returncode, process.signal) == (137, 9)


def test_a_signal_right_after_the_start_is_not_lost() -> None:
    for _ in range(20):
        process = Process(["sleep", "inf"])
        process.terminate()
        assert (process.wait(), process.signal) == (143, 15)


def test_terminate_sends_the_stop_signal() -> None:
    args = ["sh", "-c", "trap 'exit 9' USR1; echo ready; while :; do sleep 0.01; done"]
    with Process(args, stop_signal="USR1", stdout=PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.terminate()
    assert process.returncode == 9


def test_what_ignores_the_stop_signal_is_killed_after_a_while() -> None:
    args = ["sh", "-c", "trap '' TERM; echo ready; sleep inf"]
    with Process(args, stop_timeout=0.05, stdout=PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.terminate()
        assert process.wait() == 137


# Threads


def test_many_threads_run_many_containers() -> None:
    wrong: list[CompletedProcess[str]] = []

    def work(number: int) -> None:
        for turn in range(10):
            word = f"{number}.{turn}"
            ended = run(["sh", "-c", f"echo {word}; exit {number}"], stdout=PIPE, text=True)
            if (ended.returncode, ended.stdout) != (number, f"{word}\n"):
                wrong.append(ended)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_container_outlives_the_thread_that_started_it() -> None:
    made: list[Process[bytes]] = []
    thread = threading.Thread(target=lambda: made.append(Process(["cat"], stdin=PIPE, stdout=PIPE)))
    thread.start()
    thread.join()
    assert made[0].communicate(b"alive") == (b"alive", None)
    assert made[0].returncode == 0


@pytest.mark.parametrize("turn", range(20))
def test_a_wait_in_one_thread_and_a_kill_in_another(turn: int) -> None:
    process = Process(["sleep", "inf"])
    results: list[int] = []

    def wait() -> None:
        results.append(process.wait())

    threads = [threading.Thread(target=work) for work in (wait, process.kill, wait, process.kill)]
    for thread in threads[turn % 2 :] + threads[: turn % 2]:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [137, 137]


def test_a_namespace_goes_by_each_of_its_names() -> None:
    with spawner.Process(["cat"], stdin=spawner.PIPE, unshare="NET,Mnt") as process:
        inodes = process.namespaces
        assert inodes["mnt"] == inodes["MOUNT"] == inodes["mount"] == inodes.get("Mnt")
        assert inodes["mount"] == os.stat(f"/proc/{process.pid}/ns/mnt").st_ino
        assert "NET" in inodes
        assert "nets" not in inodes
        assert inodes.get("nets") is None
        with pytest.raises(KeyError):
            inodes["nets"]
        user = [] if os.geteuid() == 0 else ["User"]
        for names in (",".join(["mnt", "NET", *user]), ["MNT", "net", *user]):
            with spawner.JoinedProcess(process, ["true"], namespaces=names) as guest:
                assert guest.namespaces["mnt"] == inodes["mount"]
                assert guest.namespaces["net"] == inodes["net"]
                assert guest.namespaces["uts"] != inodes["uts"]
    assert not {"mnt", "Time"} & set(spawner.run(["true"], unshare_try="TIME").missing)
