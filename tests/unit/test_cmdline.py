"""Tables of options: parsing, the environment, help, and every way to get it wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyinit import cmdline
from pyinit.cmdline import Option, UsageError

TABLE = (
    Option("group", "g", help="A flag."),
    Option("rewrite", "r", metavar="FROM:TO", many=True, help="Signals. Repeatable."),
    Option("drain", metavar="SECONDS", convert=cmdline.seconds, help="With a value."),
    Option("init", metavar="PATH", optional=True, help="With a value that may be left out."),
    Option("verbose", "v", count=True, help="Counts."),
    Option("nice", "n", metavar="N", convert=cmdline.descriptor, help="A number."),
    Option("secret", metavar="FD", convert=cmdline.descriptor, hidden=True),
    Option("version", words_only=True),
)
WORDS = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=12)
VALUES = WORDS.filter(lambda word: word != "--")
DRAIN = "--drain SECONDS: With a value"
REWRITE = "-r, --rewrite FROM:TO: Signals"


@pytest.mark.parametrize(
    ("words", "values", "rest"),
    [
        ([], {}, []),
        (["-g", "app", "-v"], {"group": True}, ["app", "-v"]),
        (["-gv", "--", "-x"], {"group": True, "verbose": 1}, ["-x"]),
        (["-vv", "--verbose"], {"verbose": 3}, []),
        (["-rA:B", "-r", "C:D", "--rewrite=E:F", "--rewrite", "G:H"],
         {"rewrite": ["A:B", "C:D", "E:F", "G:H"]}, []),
        (["-gr", "A:B", "x"], {"group": True, "rewrite": ["A:B"]}, ["x"]),
        (["--drain", "1.5"], {"drain": 1.5}, []),
        (["--rewrite="], {"rewrite": [""]}, []),
        (["--rewrite=--", "-r--"], {"rewrite": ["--", "--"]}, []),
        (["--init", "x"], {"init": True}, ["x"]),
        (["--init=/x"], {"init": "/x"}, []),
        (["-"], {}, ["-"]),
        (["--", "--"], {}, ["--"]),
        (["--drain", "--", "--"], None, None),
    ],
)  # fmt: skip
def test_parse(words: list[str], values: dict[str, object] | None, rest: list[str] | None) -> None:
    if values is None:
        with pytest.raises(UsageError):
            cmdline.parse(TABLE, words)
    else:
        assert cmdline.parse(TABLE, words) == (values, rest)


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["--grou"], "unknown option --grou", "did you mean --group?"),
        (["--secre"], "unknown option --secre", None),
        (["--zzzz"], "unknown option --zzzz", None),
        (["--dra"], "unknown option --dra", "did you mean --drain?"),
        (["--DRAIN"], "unknown option --DRAIN", "did you mean --drain?"),
        (["--strain"], "unknown option --strain", None),
        (["-secre"], "unknown option -s in -secre", None),
        (["-drain"], "unknown option -drain", "did you mean --drain?"),
        (["-nice"], "unknown option -nice", "did you mean --nice?"),
        (
            ["-n1x"],
            "-n: '1x' is not a file descriptor (a number, such as 3 for 3>FILE in a shell)",
            "-n, --nice N: A number",
        ),
        (["-gxy"], "unknown option -x in -gxy", None),
        (["-x"], "unknown option -x", None),
        (["-gx"], "unknown option -x in -gx", None),
        (["--group=1"], "option --group doesn't accept a value", None),
        (["--drain"], "option --drain needs a value: --drain SECONDS", DRAIN),
        (["--drain", "--", "app"], "option --drain needs a value: --drain SECONDS", DRAIN),
        (["-r"], "option -r needs a value: -r, --rewrite FROM:TO", REWRITE),
        (["-r", "--"], "option -r needs a value: -r, --rewrite FROM:TO", REWRITE),
        (["--drain", "x"], "--drain: 'x' is not a number of seconds", DRAIN),
        (["--drain=-1"], "--drain: '-1' is not a number of seconds", DRAIN),
        (["--drain=nan"], "--drain: 'nan' is not a number of seconds", DRAIN),
        (["--drain=inf"], "--drain: 'inf' is not a number of seconds", DRAIN),
        (["--drain=1e9"], "--drain: '1e9' is not a number of seconds", DRAIN),
        (["--drain=."], "--drain: '.' is not a number of seconds", DRAIN),
        (
            ["--secret=-1"],
            "--secret: '-1' is not a file descriptor (a number, such as 3 for 3>FILE in a shell)",
            None,
        ),
        (
            ["--secret=²"],
            "--secret: '²' is not a file descriptor (a number, such as 3 for 3>FILE in a shell)",
            None,
        ),
    ],
)
def test_errors_say_what_is_wrong(words: list[str], message: str, hint: str | None) -> None:
    with pytest.raises(UsageError) as caught:
        cmdline.parse(TABLE, words)
    assert str(caught.value) == message
    assert caught.value.hint == hint


@given(rest=st.lists(WORDS))
def test_nothing_after_two_dashes_is_looked_at(rest: list[str]) -> None:
    assert cmdline.parse(TABLE, ["-g", "--", *rest]) == ({"group": True}, rest)


@given(words=st.lists(st.one_of(WORDS, st.sampled_from(["-g", "--drain", "--init=x", "-r", "--"]))))
def test_any_words_are_parsed_or_refused_with_words(words: list[str]) -> None:
    try:
        _, rest = cmdline.parse(TABLE, words)
    except UsageError:
        return
    assert rest == words[len(words) - len(rest) :]


@given(
    group=st.booleans(),
    verbose=st.integers(0, 4),
    rewrite=st.lists(VALUES, max_size=4),
    drain=st.none() | st.integers(0, 10**6),
    joined=st.booleans(),
)
def test_what_is_written_is_read(
    group: bool, verbose: int, rewrite: list[str], drain: int | None, joined: bool
) -> None:
    words = ["-g"] * group + ["-v"] * verbose
    for value in rewrite:
        words += [f"--rewrite={value}"] if joined else ["--rewrite", value]
    if drain is not None:
        words += ["--drain", str(drain)]
    values, rest = cmdline.parse(TABLE, [*words, "--"])
    assert rest == []
    assert values.get("group", False) is group
    assert values.get("verbose", 0) == verbose
    assert values.get("rewrite", []) == rewrite
    assert values.get("drain") == drain


@pytest.mark.parametrize(
    ("variables", "values"),
    [
        ({}, {}),
        ({b"X_GROUP": b"1"}, {"group": True}),
        ({b"X_GROUP": b"yes"}, {"group": True}),
        ({b"X_GROUP": b"no"}, {}),
        ({b"X_GROUP": b""}, {}),
        ({b"X_VERBOSE": b"3"}, {"verbose": 3}),
        ({b"X_VERBOSE": b"on"}, {"verbose": 1}),
        ({b"X_REWRITE": b"A:B C:D,E:F"}, {"rewrite": ["A:B", "C:D", "E:F"]}),
        ({b"X_DRAIN": b"2"}, {"drain": 2.0}),
        ({b"X_DRAIN": b""}, {}),
        ({b"X_SECRET": b"3"}, {}),
        ({b"X_VERSION": b"1.2"}, {}),
        ({b"X_VERBOSE": b"9" * 5000}, {"verbose": 10**18 - 1}),
        ({b"Y_GROUP": b"1"}, {}),
    ],
)
def test_environment(variables: dict[bytes, bytes], values: dict[str, object]) -> None:
    assert cmdline.environment(TABLE, variables, "X") == values


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({b"X_GROUP": b"perhaps"}, "X_GROUP=perhaps says neither yes nor no"),
        ({b"X_DRAIN": b"long"}, "X_DRAIN: 'long' is not a number of seconds"),
    ],
)
def test_environment_errors_name_the_variable(variables: dict[bytes, bytes], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        cmdline.environment(TABLE, variables, "X")


def test_help_shows_each_option_but_the_hidden() -> None:
    page = cmdline.help_text(TABLE, "Usage: x", "Footer.")
    for option in TABLE:
        assert (option.spelling in page) is not option.hidden
    assert page.startswith("Usage: x\n\n")
    assert page.endswith("\n\nFooter.\n")
    assert max(len(line) for line in page.splitlines()) < 100


PAIRS = (
    Option(
        "bind", metavar="SRC DST", convert=lambda *pair: pair, pair=True, into="all", help="Two."
    ),
    Option("tmpfs", metavar="DST", into="all", help="One."),
    Option("group", "g"),
)


@given(st.lists(st.tuples(VALUES, VALUES) | VALUES), st.booleans())
def test_options_into_one_list_keep_their_order(
    given: list[tuple[str, str] | str], equals: bool
) -> None:
    words = []
    for each in given:
        option, *values = ("--bind", *each) if isinstance(each, tuple) else ("--tmpfs", each)
        words += [f"{option}={values[0]}", *values[1:]] if equals else [option, *values]
    values, rest = cmdline.parse(PAIRS, [*words, "-g", "--", "app"])
    assert (values.get("all", []), values["group"], rest) == (given, True, ["app"])


@pytest.mark.parametrize(
    "words", [["--bind"], ["--bind", "a"], ["--bind=a"], ["--bind", "a", "--"]]
)
def test_a_pair_takes_two_words(words: list[str]) -> None:
    with pytest.raises(UsageError, match="option --bind needs two values: --bind SRC DST"):
        cmdline.parse(PAIRS, words)


@given(st.integers(0, 2**50), st.sampled_from(["", "K", "k", "M", "G", "T"]))
def test_sizes(number: int, suffix: str) -> None:
    assert cmdline.size(f"{number}{suffix}") == number << " KMGT".index(suffix.upper() or " ") * 10


@pytest.mark.parametrize("word", ["", "K", "1Q", "-1", "1.5M", "\u0661", "9" * 20, "1 K"])
def test_what_is_no_size(word: str) -> None:
    with pytest.raises(ValueError, match="is not a number of bytes, which K, M, G or T may follow"):
        cmdline.size(word)
