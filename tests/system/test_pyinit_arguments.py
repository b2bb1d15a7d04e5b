"""The workload gets its arguments and its environment byte for byte."""

from __future__ import annotations

import pytest
from helpers.places import Place
from helpers.programs import Word, prepared, pyinit, python
from helpers.running import run
from helpers.transparency import EXEC_WITH, RARE
from hypothesis import given
from hypothesis import strategies as st

words = st.binary(max_size=20).map(lambda raw: raw.replace(b"\0", b""))

COMMAND_LINE = """
import posix
with open("/proc/self/cmdline", "rb") as line:
    posix.write(1, line.read())
"""


@RARE
@given(arguments=st.lists(words, max_size=8))
def test_arguments_are_passed_byte_for_byte(arguments: list[bytes]) -> None:
    workload = python(COMMAND_LINE, *arguments)
    ended = run(pyinit("--", *workload))
    assert ended.out == run(workload).out
    assert ended.out.split(b"\0")[5:-1] == arguments


def test_the_first_argument_is_the_name_that_was_given(place: Place) -> None:
    ended = place.run("cat", "/proc/self/cmdline")
    assert ended.out == b"cat\0/proc/self/cmdline\0"


@pytest.mark.parametrize("arguments", [["--help"], ["-g"], ["--", "-x"], ["--handover=mask=0"]])
def test_options_after_the_program_are_the_programs(outside: Place, arguments: list[str]) -> None:
    for separator in ([], ["--"]):
        ended = outside.run(*separator, "sh", "-c", 'echo "$@"', "sh", *arguments)
        assert ended.out == (" ".join(arguments) + "\n").encode()


def environment_seen(entries: list[bytes], *, bare: bool = False) -> list[bytes]:
    """Return the environment of a workload whose starter exec'ed it with just these entries."""
    workload: list[Word] = ["/bin/cat", "/proc/self/environ"]
    argv = workload if bare else pyinit("--", *workload)
    ended = run(prepared(EXEC_WITH.format(entries=entries), argv))
    assert ended.status == 0, ended
    return ended.out.split(b"\0")[:-1] if ended.out else []


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [b"PATH=/bin", b"HOME=/"],
        [b"A=1", b"A=2", b"A=1"],
        [b"no equals sign", b"=empty name", b"", b"=", b"X="],
        [b"V=\xff\xfe\x80", b"\xe4\xf6=x", b"N=a\nb\tc\x01"],
        [b"LC_CTYPE=C"],
        [b"LC_CTYPE=POSIX", b"LANG=C"],
        [b"LC_CTYPE=C.UTF-8"],
        [b"LC_CTYPE="],
        [b"LC_CTYPE=C", b"X=1", b"LC_CTYPE=C.UTF-8"],
        [b"X=1", b"LC_CTYPE=de_DE.ISO-8859-1"],
        [b"LC_CTYPE"],
        [b"LANG=C"],
        [b"LANG=nowhere_NO.nothing", b"V=\xff"],
        [b"LC_ALL=C", b"V=\xff"],
        [b"LC_ALL=POSIX", b"LC_CTYPE=C"],
        [b"LC_ALL=C.UTF-8"],
        [b"LC_ALL="],
        [b"PYTHONCOERCECLOCALE=0"],
        [b"PYTHONCOERCECLOCALE=warn", b"PYTHONUTF8=1", b"PYTHONPATH=/nowhere"],
        [b"PYTHONHOME=/nowhere", b"PYTHONINSPECT=1", b"PYTHONVERBOSE=1", b"PYTHONMALLOC=debug"],
        [b"PYINIT_VERBOSE=0", b"PYINIT_GROUP=1", b"PYINIT_SOMETHING=else"],
        [b"LISTEN_FDS=1", b"LISTEN_FDNAMES=x"],
        [b"LISTEN_PID=4194304", b"LISTEN_FDS=1"],
        [b"LISTEN_PID=", b"LISTEN_PID=x", b"LISTEN_PID"],
        [b"BIG=" + b"x" * 100_000],
        [b"N%d=%d" % (n, n) for n in range(2000)],
    ],
    ids=lambda entries: repr(b" ".join(entries)[:40])[2:-1] or "empty",
)
def test_the_environment_is_passed_byte_for_byte(entries: list[bytes]) -> None:
    assert environment_seen(entries) == entries


names = st.one_of(
    st.sampled_from([b"LC_CTYPE", b"LANG", b"LC_ALL", b"PATH", b"A", b"LISTEN_PID", b""]),
    st.binary(min_size=1, max_size=6).map(lambda raw: raw.replace(b"\0", b"")),
)

values = st.one_of(st.sampled_from([b"C", b"C.UTF-8", b"POSIX", b"7"]), words)


@RARE
@given(
    entries=st.lists(
        st.one_of(
            st.tuples(names, values).map(b"=".join),
            names,
        ),
        max_size=8,
    )
)
def test_any_environment_is_passed_byte_for_byte(entries: list[bytes]) -> None:
    assert environment_seen(entries) == environment_seen(entries, bare=True)


@pytest.mark.parametrize(
    "entries",
    [
        [b"LISTEN_PID=%d", b"LISTEN_FDS=1"],
        [b"A=1", b"LISTEN_PID=%d", b"B=\xff", b"B=2"],
    ],
)
def test_listen_pid_names_the_workload_where_it_named_pyinit(
    place: Place, entries: list[bytes]
) -> None:
    prepare = (
        f"entries = [e % os.getpid() if b'%d' in e else e for e in {entries!r}]\n"
        + EXEC_WITH.partition("\n")[2].partition("\n")[2]
    )
    ended = place.run("--", "/bin/cat", "/proc/self/environ", "/proc/self/stat", prepare=prepare)
    *environment, status = ended.out.split(b"\0")
    pid = int(status.split()[0])
    assert environment == [entry % pid if b"%d" in entry else entry for entry in entries]
