"""Whose a subordinate range is, in the words of subuid(5) and getsubids(1)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawner.ids import subid
from spawner.ids.idmap import MAX_ID

OWNERS = ("alice", "1000")


def test_a_name_or_a_number_matches_exactly() -> None:
    text = (
        "alic:1:1\nalice2:2:1\nalice:100000:65536\nALICE:3:1\n10000:4:1\n01000:5:1\n1000:200000:9\n"
        "root:300000:5\nalice:400000:7\n"
    )
    assert subid.read(text, OWNERS) == [(100000, 65536), (200000, 9), (400000, 7)]


@pytest.mark.parametrize(
    "rest",
    [
        "",
        "100000",
        "100000:",
        ":5",
        "a:5",
        "5:0",
        "5:1:",
        "-5:9",
        "²:5",
        f"{MAX_ID}:2",
        " 5:9",
        "05:9",
        "5:09",
        "00:9",
        "0x5:9",
        "+5:9",
        "5:9\r",
        "5:9\x0b",
        "5:9\0",
        "5:9\u2028",
        "5:9:",
        "99999999999:1",
        "5:99999999999",
        "5:" + "9" * 5000,
        f"0:{MAX_ID + 2}",
    ],
)
def test_malformed_lines_are_skipped(rest: str) -> None:
    assert subid.read(f"# a comment\n\nalice:{rest}\nalice:5:6\n", OWNERS) == [(5, 6)]


def test_a_range_from_zero_on() -> None:
    assert subid.read(f"alice:0:{MAX_ID + 1}", OWNERS) == [(0, MAX_ID + 1)]


@pytest.mark.parametrize("end", ["\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\0", " "])
def test_only_a_line_feed_ends_a_line_of_somebody_elses(end: str) -> None:
    assert subid.read(f"bob:5:6{end}alice:7:8\n", OWNERS) == []


@given(st.text(), st.lists(st.tuples(st.integers(0, 2**31), st.integers(1, 2**31 - 2))))
def test_nothing_in_the_file_brings_it_down(noise: str, runs: list[tuple[int, int]]) -> None:
    lines = "".join(f"alice:{first}:{count}\n" for first, count in runs)
    assert subid.read(f"{lines}{noise}", OWNERS)[: len(runs)] == runs
    shown = "".join(f"{at}: alice {first} {count}\n" for at, (first, count) in enumerate(runs))
    assert subid.asked(shown, OWNERS) == runs
    subid.asked(noise, OWNERS)
    subid.source(noise)


def test_what_getsubids_tells_of_others_is_not_taken() -> None:
    assert subid.asked("0: bob 5 6\n1: alice 7 8\nnonsense\n", OWNERS) == [(7, 8)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "files"),
        ("passwd: files\n#subid: sss\n", "files"),
        ("subid:\tsss files\n", "sss"),
        ("subid: files # sss\n", "files"),
        ("subid:\n", "files"),
    ],
)
def test_where_ids_come_from(text: str, expected: str) -> None:
    assert subid.source(text) == expected


class Told:
    """A machine whose getsubids knows ranges."""

    def __init__(self, status: int, out: str) -> None:
        self.asked: list[object] = []
        self.answer = (status, out, "")

    def __call__(self, arguments: Sequence[str]) -> tuple[int, str, str]:
        self.asked.append(arguments)
        return self.answer


@pytest.mark.parametrize(
    ("file", "switch", "answer", "expected", "asked"),
    [
        ("alice:5:6\n", "", (0, "0: alice 7 8\n"), [(5, 6)], False),
        ("", "", (0, "0: alice 7 8\n"), [(7, 8)], True),
        ("alice:5:6\n", "subid: sss\n", (0, "0: alice 7 8\n"), [(7, 8)], True),
        ("alice:5:6\n", "subid: sss\n", (1, "Error fetching ranges\n"), [], True),
        ("", "", (1, "0: alice 7 8\n"), [], True),
    ],
)
def test_the_file_or_a_directory_service(
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    switch: str,
    answer: tuple[int, str],
    expected: list[tuple[int, int]],
    asked: bool,
) -> None:
    texts = {"/etc/subgid": file, "/etc/nsswitch.conf": switch}
    monkeypatch.setattr(subid, "contents", lambda path: texts.get(path, ""))
    machine = Told(*answer)
    assert subid.look(machine, "gid", OWNERS, "/bin/getsubids") == expected
    assert machine.asked == [("/bin/getsubids", "-g", "alice")] * asked
    without = subid.look(Told(*answer), "gid", OWNERS, None)
    assert without == subid.read(file, OWNERS)


PASSWD = (
    "root:x:0:0::/root:/bin/sh\n+:1000:1000\n+@staff:x:1000::::\n-bob:x:1000:5::/:\n:x:1000:5::/:\n"
    "carol:1000\n\n# dave:x:1001\nalice:x:1000:5::/:\nalias:x:1000:5::/:\nlast:x:10000:5::/:"
)


def test_the_name_of_a_user() -> None:
    names = {user: subid.name_in(PASSWD, user) for user in (0, 1000, 10000, 1, 1001)}
    assert names == {0: "root", 1000: "alice", 10000: "last", 1: None, 1001: None}


@given(st.text(), st.integers(0, MAX_ID))
def test_whatever_a_passwd_file_says(text: str, user: int) -> None:
    subid.name_in(text, user)
    assert subid.name_in(f"alice:x:{user}:5::/:\n{text}", user) == "alice"


@pytest.mark.parametrize(
    ("user", "answer", "expected", "asked"),
    [
        (1000, (0, "other:x:1000:5::/:\n"), "alice", False),
        (7, (0, "far:x:7:5::/:\n"), "far", True),
        (7, (0, "far:x:8:5::/:\n"), None, True),
        (7, (2, "far:x:7:5::/:\n"), None, True),
    ],
)
def test_a_name_from_a_directory_service(
    monkeypatch: pytest.MonkeyPatch,
    user: int,
    answer: tuple[int, str],
    expected: str | None,
    asked: bool,
) -> None:
    monkeypatch.setattr(subid, "contents", {"/etc/passwd": PASSWD}.__getitem__)
    machine = Told(*answer)
    assert subid.name(machine, user, "/bin/getent") == expected
    assert machine.asked == [("/bin/getent", "passwd", str(user))] * asked
    assert subid.name(machine, 7, None) is None
