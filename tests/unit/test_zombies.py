"""Zombies and who holds them, read from a /proc that the test wrote."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawner.command import zombies


class Proc:
    """A directory with the files of /proc that psutil and we read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "stat").write_text("btime 1000000000\n")

    def add(
        self,
        pid: int,
        ppid: int,
        name: str = "app",
        *,
        state: str = "S",
        threads: int = 1,
        started: int = 100,
        tracer: int = 0,
        inner: str = "",
    ) -> None:
        """Write a process; `started` is in clock ticks, `inner` its pids in inner namespaces."""
        directory = self.path / str(pid)
        directory.mkdir(exist_ok=True)
        fields = ["0"] * 52
        fields[:3] = [str(pid), f"({name})", state]
        fields[3], fields[21] = str(ppid), str(started)
        (directory / "stat").write_text(" ".join(fields), errors="surrogateescape")
        (directory / "cmdline").write_text("")
        (directory / "status").write_text(
            f"Name:\t?\nTracerPid:\t{tracer}\nNSpid:\t{pid}{inner}\nThreads:\t{threads}\n"
        )

    def remove(self, pid: int) -> None:
        shutil.rmtree(self.path / str(pid))


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Proc:
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))
    monkeypatch.setattr(zombies.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(zombies.time, "time", lambda: 1000000100.0)
    made = Proc(tmp_path)
    made.add(1, 0, "init")
    return made


def test_no_zombies(proc: Proc) -> None:
    proc.add(10, 1)
    assert zombies.zombies() == []


def test_zombies_are_grouped_by_their_parent_the_most_first(proc: Proc) -> None:
    proc.add(10, 1, "few")
    proc.add(20, 1, "many")
    proc.add(11, 10, "a", state="Z")
    proc.add(21, 20, "young", state="Z", started=500)
    proc.add(22, 20, "old", state="Z", started=0)
    many, few = zombies.zombies()
    assert (many.pid, many.name, few.pid) == (20, "many", 10)
    assert many.zombies == (zombies.Zombie(22, "old", 100.0), zombies.Zombie(21, "young", 95.0))
    assert many.oldest == 100.0
    assert (many.init, many.stopped, many.tracer) == (False, False, False)
    assert "wait(2)" in many.advice


@pytest.mark.parametrize("inner", ["\t1", "\t7\t1"])
def test_pid_1_of_an_inner_namespace(proc: Proc, inner: str) -> None:
    proc.add(10, 1, inner=inner)
    proc.add(11, 10, state="Z")
    (parent,) = zombies.zombies()
    assert parent.init
    assert "put pyinit in front" in parent.advice


def test_pid_1_of_the_namespace_looked_at(proc: Proc) -> None:
    proc.add(11, 1, state="Z")
    (parent,) = zombies.zombies()
    assert parent.init
    assert "put pyinit in front" in parent.advice


def test_a_parent_whose_inner_pid_only_ends_in_1_is_no_init(proc: Proc) -> None:
    proc.add(10, 1, inner="\t11")
    proc.add(11, 10, state="Z")
    assert not zombies.zombies()[0].init


@pytest.mark.parametrize("state", ["T", "t"])
def test_a_stopped_parent_is_to_be_continued(proc: Proc, state: str) -> None:
    proc.add(10, 1, state=state, inner="\t1")
    proc.add(11, 10, state="Z")
    (parent,) = zombies.zombies()
    assert parent.stopped
    assert "kill -CONT 10" in parent.advice


def test_a_tracer_comes_before_the_parent(proc: Proc) -> None:
    proc.add(10, 1)
    proc.add(20, 1, "strace")
    proc.add(11, 10, state="Z", tracer=20)
    (parent,) = zombies.zombies()
    assert (parent.pid, parent.name, parent.tracer) == (20, "strace", True)
    assert "traces" in parent.advice


def test_a_parent_that_traces_its_own_child_is_told_to_wait(proc: Proc) -> None:
    proc.add(10, 1)
    proc.add(11, 10, state="Z", tracer=10)
    (parent,) = zombies.zombies()
    assert (parent.pid, parent.tracer) == (10, False)


def test_a_parent_outside_of_the_namespace(proc: Proc) -> None:
    proc.add(11, 0, state="Z")
    (parent,) = zombies.zombies()
    assert (parent.pid, parent.name, parent.init) == (0, None, False)
    assert "outside" in parent.advice


def test_a_parent_that_cannot_be_seen(proc: Proc) -> None:
    proc.add(11, 10, state="Z")
    (parent,) = zombies.zombies()
    assert (parent.pid, parent.name) == (10, None)


def test_a_thread_group_that_lives_on_without_its_first_thread_is_no_zombie(proc: Proc) -> None:
    proc.add(10, 1)
    proc.add(11, 10, state="Z", threads=2)
    assert zombies.zombies() == []


def test_only_those_held_by_a_process_and_its_descendants(proc: Proc) -> None:
    proc.add(10, 1)
    proc.add(11, 10)
    proc.add(12, 11, state="Z")
    proc.add(20, 1)
    proc.add(21, 20, state="Z")
    assert [parent.pid for parent in zombies.zombies([10])] == [11]
    assert [parent.pid for parent in zombies.zombies([20])] == [20]
    assert [parent.pid for parent in zombies.zombies([20, 11])] == [11, 20]
    assert zombies.zombies([12]) == []


def test_a_loop_of_parents_ends(proc: Proc) -> None:
    """What pid reuse between two reads could show."""
    proc.add(10, 11)
    proc.add(11, 10)
    proc.add(12, 11, state="Z")
    assert zombies.zombies([1]) == []


def test_a_pid_that_is_not_there(proc: Proc) -> None:
    with pytest.raises(ProcessLookupError) as caught:
        zombies.zombies([1, 99])
    assert caught.value.filename == "99"


def test_a_child_reaped_in_time_is_no_zombie(proc: Proc, monkeypatch: pytest.MonkeyPatch) -> None:
    proc.add(10, 1)
    proc.add(11, 10, state="Z")
    proc.add(12, 10, state="Z")
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        proc.remove(11)

    monkeypatch.setattr(zombies.time, "sleep", sleep)
    (parent,) = zombies.zombies(grace=0.25)
    assert [zombie.pid for zombie in parent.zombies] == [12]
    assert slept == [0.25]


def test_a_new_zombie_on_a_pid_used_again_is_not_the_old_one(
    proc: Proc, monkeypatch: pytest.MonkeyPatch
) -> None:
    proc.add(10, 1)
    proc.add(11, 10, state="Z", started=100)
    monkeypatch.setattr(
        zombies.time, "sleep", lambda seconds: proc.add(11, 10, state="Z", started=200)
    )
    assert zombies.zombies() == []


def test_nothing_is_waited_for_without_zombies(proc: Proc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zombies.time, "sleep", lambda seconds: pytest.fail("slept"))
    assert zombies.zombies() == []


def test_zombies_that_went_to_another_parent_meanwhile(
    proc: Proc, monkeypatch: pytest.MonkeyPatch
) -> None:
    proc.add(10, 1)
    proc.add(11, 10, state="Z")

    def sleep(seconds: float) -> None:
        proc.remove(10)
        proc.add(11, 1, state="Z")

    monkeypatch.setattr(zombies.time, "sleep", sleep)
    assert [parent.pid for parent in zombies.zombies()] == [1]


def test_values_are_frozen(proc: Proc) -> None:
    proc.add(11, 1, state="Z")
    (parent,) = zombies.zombies()
    with pytest.raises(AttributeError):
        parent.pid = 2  # type: ignore[misc]
    with pytest.raises(AttributeError):
        parent.zombies[0].pid = 2  # type: ignore[misc]


def test_table(proc: Proc, capfd: pytest.CaptureFixture[str]) -> None:
    proc.add(10, 1, "app", inner="\t1")
    proc.add(11, 10, "true", state="Z", started=0)
    assert zombies.main([]) == 1
    header, row = capfd.readouterr().out.splitlines()
    assert header.split() == ["PARENT", "NAME", "ZOMBIES", "OLDEST", "PID", "1", "WHAT", "TO", "DO"]
    assert row.split(None, 5) == ["10", "app", "1", "1m40s", "yes", zombies.zombies()[0].advice]


def test_none_found_is_said_and_is_success(proc: Proc, capfd: pytest.CaptureFixture[str]) -> None:
    assert zombies.main([]) == 0
    assert capfd.readouterr() == ("no zombies\n", "")
    assert zombies.main(["--json"]) == 0
    assert capfd.readouterr() == ("[]\n", "")


def test_json(proc: Proc, capfd: pytest.CaptureFixture[str]) -> None:
    proc.add(10, 1, "app")
    proc.add(11, 10, "true", state="Z", started=0)
    assert zombies.main(["--json", "--grace", "0", "10"]) == 1
    assert json.loads(capfd.readouterr().out) == [
        {
            "pid": 10,
            "name": "app",
            "init": False,
            "stopped": False,
            "tracer": False,
            "zombies": [{"pid": 11, "name": "true", "age": 100.0}],
            "advice": zombies.zombies()[0].advice,
        }
    ]


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_hostile_name_is_escaped(
    proc: Proc, capfd: pytest.CaptureFixture[str], options: list[str]
) -> None:
    proc.add(10, 1, "\x1b]0;\n\udcff) S 1")
    proc.add(11, 10, "\x1b[2J", state="Z")
    assert zombies.main(options) == 1
    out = capfd.readouterr().out
    assert out.replace("\n", "").isprintable()
    if options:
        assert json.loads(out)[0]["name"] == "\x1b]0;\n\udcff) S 1"
    else:
        assert r"\x1b]0;\n\xff) S 1" in out
        assert len(out.splitlines()) == 2


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["--jsno"], "unknown option --jsno", "did you mean --json?"),
        (["-x"], "unknown option -x", "--help"),
        (["ten"], "'ten' is not a process id", "--help"),
        (["-1"], "unknown option -1", "--help"),
        (["--grace", "x"], "'x' is not a number of seconds", "--grace SECONDS: How long"),
    ],
)
def test_bad_usage(
    capfd: pytest.CaptureFixture[str], words: list[str], message: str, hint: str
) -> None:
    assert zombies.main(words) == 125
    out, err = capfd.readouterr()
    first, second = err.splitlines()
    assert out == ""
    assert first.startswith("pyspawn: zombies: ")
    assert message in first
    assert second.startswith("hint: ")
    assert hint in second


def test_a_missing_pid_is_named(proc: Proc, capfd: pytest.CaptureFixture[str]) -> None:
    assert zombies.main(["99"]) == 125
    assert capfd.readouterr() == ("", "pyspawn: zombies: there is no process 99\n")


def test_without_proc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path / "proc"))
    assert zombies.main([]) == 125
    out, err = capfd.readouterr()
    assert out == ""
    assert "No such file or directory (ENOENT)" in err
    assert "hint: reading processes requires a proc file system" in err


def test_without_psutil(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert zombies.main([]) == 125
    out, err = capfd.readouterr()
    assert out == ""
    assert "psutil" in err
    assert "hint: `pip install psutil`" in err


def test_help_tells_the_exit_statuses(capfd: pytest.CaptureFixture[str]) -> None:
    assert zombies.main(["--help"]) == 0
    out = capfd.readouterr().out
    assert out.startswith("Usage: pyspawn zombies")
    for option in ("--json", "--grace", "0 there are no zombies", "125"):
        assert option in out


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59.9, "59s"), (60, "1m00s"), (3599, "59m59s"), (3600, "1h00m"),
     (86399, "23h59m"), (86400, "1d00h"), (9 * 86400 + 4 * 3600 + 99, "9d04h")],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert zombies._duration(seconds) == text


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_visible_names_hold_nothing_that_a_terminal_obeys(name: str) -> None:
    shown = zombies.shown(name)
    assert shown.isprintable()
    if name.isprintable():
        assert shown == name
