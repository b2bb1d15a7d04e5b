"""dumb-init and its twin, side by side: their answers, and how they read their words.

A test that takes `dumb_init` runs twice, with the tool and with the twin; `twin` and `peer` are
for the deliberate differences of docs/twins.md.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import twins
from helpers.running import Running
from helpers.twins import Init, outcome

dumb_init, _, _, _ = twins.fixtures("dumb-init")


@pytest.mark.parametrize("word", ["-V", "--version", "--vers"])
def test_version(dumb_init: Init, word: str) -> None:
    ended = dumb_init.run(word)
    assert outcome(ended) == (0, False, True)
    assert ended.errors.startswith("dumb-init v1.2.5")
    assert ended.errors.count("\n") == 1


@pytest.mark.parametrize("word", ["-h", "--help", "--h"])
def test_help(dumb_init: Init, word: str) -> None:
    ended = dumb_init.run(word)
    assert outcome(ended) == (0, False, True)
    first, second = ended.errors.splitlines()[:2]
    assert first.startswith("dumb-init v1.2.5")
    assert second.startswith("Usage: ")
    assert second.endswith("dumb-init [option] command [[arg] ...]")
    for option in ("-c, --single-child", "-r, --rewrite", "-v, --verbose", "-h, --help",
                   "-V, --version"):  # fmt: skip
        assert option in ended.errors


def test_no_program(dumb_init: Init) -> None:
    for words in ([], ["-c"], ["--"], ["-v", "--"]):
        ended = dumb_init.run(*words)
        assert outcome(ended) == (1, False, True)
        assert "dumb-init [option] program [args]" in ended.errors


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["-x"], "invalid option -- 'x'"),
        (["-cx", "true"], "invalid option -- 'x'"),
        (["-r"], "option requires an argument -- 'r'"),
        (["--rewrite"], "option '--rewrite' requires an argument"),
        (["--nosuch", "true"], "unrecognized option '--nosuch'"),
        (["--help=1"], "option '--help' doesn't allow an argument"),
        (["--ver", "true"], "option '--ver' is ambiguous; possibilities: '--verbose' '--version'"),
    ],
)
def test_bad_options(dumb_init: Init, words: list[str], complaint: str) -> None:
    ended = dumb_init.run(*words)
    assert outcome(ended) == (1, False, True)
    assert ended.errors.splitlines()[0].endswith(f"dumb-init: {complaint}")


def test_the_first_answer_counts(dumb_init: Init) -> None:
    assert dumb_init.run("-h", "-x").status == 0
    assert dumb_init.run("-x", "-h").status == 1
    assert dumb_init.run("-V", "-r", "99:1").status == 0


@pytest.mark.parametrize("kind", twins.KINDS)
def test_usage_goes_by_the_name(kind: str, tmp_path: Path) -> None:
    path = Init("dumb-init", kind).link(tmp_path / "dumb-init")
    with Running([str(path)]) as running:
        assert running.wait() == 1
        assert "dumb-init [option] program [args]" in running.errors()


@pytest.mark.parametrize(
    ("words", "out"),
    [
        (["echo", "-c", "a"], b"-c a\n"),
        (["-c", "echo", "-V"], b"-V\n"),
        (["--", "echo", "--", "a"], b"-- a\n"),
        (["echo", "--", "a"], b"-- a\n"),
        (["-cr1:2", "echo", "a"], b"a\n"),
        (["--single", "--rew=1:2", "echo", "a"], b"a\n"),
        (["--single-child", "--rewrite", "1:2", "echo", "a"], b"a\n"),
    ],
)
def test_options_end_at_the_program(dumb_init: Init, words: list[str], out: bytes) -> None:
    ended = dumb_init.run(*words)
    assert (ended.status, ended.out, ended.errors) == (0, out, "")


@pytest.mark.parametrize(
    ("words", "variables", "says"),
    [
        (["-v"], {}, True),
        (["--verbose"], {}, True),
        (["--verb"], {}, True),
        (["-vc"], {}, True),
        ([], {"DUMB_INIT_DEBUG": "1"}, True),
        ([], {"DUMB_INIT_DEBUG": "0"}, False),
        ([], {"DUMB_INIT_DEBUG": ""}, False),
        ([], {"DUMB_INIT_DEBUG": "yes"}, False),
        (["-v"], {"DUMB_INIT_DEBUG": "0"}, True),
        ([], {}, False),
    ],
)
def test_news(dumb_init: Init, words: list[str], variables: dict[str, str], says: bool) -> None:
    ended = dumb_init.run(*words, "echo", "word", variables=variables)
    assert (ended.status, ended.out) == (0, b"word\n")
    assert bool(ended.errors) == says
    assert all(line.startswith("[dumb-init] ") for line in ended.errors.splitlines())
