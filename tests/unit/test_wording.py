"""Messages of the command line in words for Python."""

from __future__ import annotations

import ast
import json
import os
import pickle
import re
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from helpers.capabilities import require
from helpers.programs import PLACE
from hypothesis import given
from hypothesis import strategies as st

import spawner
from pyinit import jsontext
from spawner import channel
from spawner.api import isolate, keywords, wording, words
from spawner.command import exec, run
from spawner.errors import MARK, STAGE, SetupError, mark, unmarked
from spawner.tell import report


def marked(text: str) -> str:
    """Return a message with its options, which stand in braces, marked."""
    return re.sub(r"\{([^}]*)\}", lambda match: mark(match[1]), text)


@pytest.mark.parametrize(
    ("text", "typed", "said"),
    [
        ("{--unshare}: 'nets' is none", "--unshare: 'nets' is none", "unshare: 'nets' is none"),
        ("add {--time}", "add --time", 'add unshare="time"'),
        ("add {--network slirp4netns} or {--network pasta}",
         "add --network slirp4netns or --network pasta",
         'add network="slirp4netns" or network="pasta"'),
        ("{--network veth:b,address=10.1.0.2/24}.",
         "--network veth:b,address=10.1.0.2/24.",
         'network="veth:b,address=10.1.0.2/24".'),
        ("choose one, {--setuid 0}", "choose one, --setuid 0", "choose one, user=0"),
        ("{--map-users 1:OUTER:COUNT} or {--map-auto}",
         "--map-users 1:OUTER:COUNT or --map-auto",
         'map_users="1:OUTER:COUNT" or map="auto"'),
        ("another init, {--init=PATH}", "another init, --init=PATH", 'another init, init="PATH"'),
        ("`{--share user}`", "`--share user`", '`share="user"`'),
        ("use {--propagation private} or slave", "use --propagation private or slave",
         'use propagation="private" or slave'),
        ("{--persist}", "--persist", "--persist"),
        ("{--user=/proc/7/ns/user}", "--user=/proc/7/ns/user", "--user=/proc/7/ns/user"),
        ("`unshare --pid` does that", "`unshare --pid` does that", "`unshare --pid` does that"),
        ("chmod +x /x/--share", "chmod +x /x/--share", "chmod +x /x/--share"),
        ("docker run --user", "docker run --user", "docker run --user"),
    ],
)  # fmt: skip
def test_each_front_says_options_in_its_own_words(text: str, typed: str, said: str) -> None:
    assert unmarked(marked(text)) == typed
    assert wording.python(marked(text)) == said


def test_the_callers_own_id_is_mapped_by_name() -> None:
    assert wording.python(marked("{--map-user 5}, or")) == f'map_users="5:{os.geteuid()}:1", or'
    assert wording.python(marked("{--map-group 0},")) == f'map_groups="0:{os.getegid()}:1",'


def test_kinds_of_a_join_are_namespaces() -> None:
    said = wording.python(marked("name {--user} as well"), wording.JOINED)
    assert said == 'name namespaces="user" as well'


def test_every_option_that_a_keyword_stands_for_is_known() -> None:
    named = {keyword.option for keyword in keywords.TABLE.values() if keyword.option}
    for option in run.TABLE:
        said = wording.python(mark(f"--{option.long}"))
        assert ("--" not in said) == (
            option.long in named | {"map-root-user", "map-current-user", "map-auto", "env"}
            or option in (*run.LIMITS, *run.RIGHTS)
            or option.name in ("mounts", "rootfs", "read_only")
            or option.long in ("map-user", "map-group")
            or option.long in spawner.Namespaces("all").required
        )


class Text(NamedTuple):
    """A string in the sources, `…` standing for what it's filled with when it runs."""

    module: str
    line: int
    words: str
    is_mark: bool


def texts() -> Iterator[Text]:
    """Yield every string of spawner's that isn't a docstring or a help text."""
    for path in sorted(Path(PLACE, "spawner").rglob("*.py")):
        for node, is_mark in strings(ast.parse(path.read_text())):
            values = node.values if isinstance(node, ast.JoinedStr) else [node]
            words = "".join(
                str(each.value) if isinstance(each, ast.Constant) else "…" for each in values
            )
            module = str(path.relative_to(Path(PLACE, "spawner")).with_suffix(""))
            yield Text(module, node.lineno, words, is_mark)


def strings(node: ast.AST, *, is_mark: bool = False) -> Iterator[tuple[ast.expr, bool]]:
    """Yield the strings in a tree, whole where they're put together, and whether they're marked."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return
    if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("USAGE", "FOOTER", "HELP"):
        return
    if isinstance(node, ast.Call):
        called = ast.unparse(node.func)
        if called in ("Option", "_flag", "programs.as_root"):  # help, and a command as it's typed
            return
        is_mark = is_mark or called == "mark"
    if isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    ):
        yield node, is_mark
        inner = [each for each in ast.walk(node) if isinstance(each, ast.FormattedValue)]
        for each in inner if isinstance(node, ast.JoinedStr) else ():
            yield from strings(each.value)
        return
    for child in ast.iter_child_nodes(node):
        yield from strings(child, is_mark=is_mark)


TEXTS = tuple(texts())

LONG = {option.long for option in (*run.TABLE, *exec.OWN)}

COMMAND_LINE_ONLY = ("cli", "command/", "tell/explain")
"""Modules whose messages only the command line shows."""


def test_every_message_marks_the_options_that_it_names() -> None:
    others = r"`[^`-][^`]*`|\(unshare has [^)]*\)|docker run [^)]*"
    for text in TEXTS:
        if (
            text.is_mark
            or text.module.startswith(COMMAND_LINE_ONLY)
            or text.words.startswith(("Usage: ", "pyspawn "))
        ):
            continue
        words = re.sub(others, "", text.words)
        named = {*re.findall(r"(?<!\S)[(`]?--([a-z]+(?:-[a-z]+)*)", words)} & LONG
        assert not (" " in words and named), text


MARKED = sorted({text.words for text in TEXTS if text.is_mark and text.words.startswith("--")})

NOT_IN_PYTHON = {"--net=FILE", "--persist", "--user=/proc/PID/ns/user",
                 "--…=FILE", "--…=/proc/…/ns/…"}  # fmt: skip
"""What no keyword stands for: other functions do it, or none."""


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--ro-bind /a /a", 'mounts=Mounts([Bind("/a", "/a", read_only=True)])'),
        ("--bind SRC DST", 'mounts=Mounts([Bind("SRC", "DST")])'),
        ("--tmpfs DST", 'mounts=Mounts([Tmpfs("DST")])'),
        ("--tmpfs", "mounts"),
    ],
)
def test_a_mount_is_told_as_python_has_it(option: str, said: str) -> None:
    assert wording.python(mark(option)) == said


@pytest.mark.parametrize("option", MARKED)
def test_every_marked_option_is_one_in_both_fronts(option: str) -> None:
    name = option[2:].replace(" ", "=").partition("=")[0]
    assert any(re.fullmatch(re.escape(name).replace("…", ".+"), long) for long in LONG)
    typed = option.replace("--map-…", "--map-user").replace("--set…", "--setuid")
    typed = typed.replace("--…", "--net", 1)
    said = wording.python(f"add {mark(typed)}, or not")
    assert ("--" in said) == (option in NOT_IN_PYTHON), said


@given(st.text())
def test_what_marks_no_option_stays(text: str) -> None:
    assert wording.python(text) == text
    assert unmarked(text) == text


@given(st.binary())
def test_no_bytes_are_a_mark(raw: bytes) -> None:
    """So no word, path, file or answer of another program's is taken for one."""
    ours = mark("--net")
    for raw_text in (raw, raw + ours.encode("utf-8", "surrogatepass") + raw):
        assert MARK not in raw_text.decode("utf-8", "surrogateescape")
        assert MARK not in raw_text.decode("utf-8", "replace")


@given(st.binary(), st.binary(), st.sampled_from(MARKED))
def test_marks_cross_the_pipes_beside_what_users_say(
    before: bytes, after: bytes, option: str
) -> None:
    """From the init to the launcher as a record, from there to the API as JSON."""
    first, last = (raw.decode("utf-8", "surrogateescape") for raw in (before, after))
    said = first + mark(option) + last
    record = channel.failure(SetupError(said, stage=STAGE, path=first, hint=said))
    error = channel.error_of(channel.decode(record.rstrip(b"\n")))
    assert (error.step, error.path, error.hint) == (said, first, said)
    heard = json.loads(jsontext.dump(error.hint))
    assert unmarked(heard) == first + option + last
    assert wording.python(heard) == first + wording.python(mark(option)) + last


UNQUOTED = st.text(st.characters(exclude_characters='"'))


@pytest.mark.parametrize("keyword", keywords.TABLE)
@given(UNQUOTED, UNQUOTED)
def test_no_value_of_a_keyword_is_taken_for_a_mark(keyword: str, before: str, after: str) -> None:
    value = before + mark("--net") + after
    with pytest.raises((spawner.SpecError, TypeError)) as caught:
        words.command(["true"], {keyword: value})
    said = f"{caught.value}{getattr(caught.value, 'hint', None)}"
    assert MARK not in said
    assert 'unshare="net"' not in said


@pytest.mark.parametrize(
    "call",
    [
        lambda: spawner.Network("net"),
        lambda: spawner.Network("host", publish=[spawner.Publish(80)]),
        lambda: spawner.Network("loopback", publish=[spawner.Publish(80)]),
        lambda: spawner.Network("slirp4netns", publish=[spawner.Publish(80, protocol="udp")]),
        lambda: spawner.Network("slirp4netns", publish=[spawner.Publish(80, address="::1")]),
        lambda: spawner.Network("pasta", publish=[spawner.Publish(80, 81, protocol="udp")]),
        lambda: spawner.Network("pasta", bridge="br0"),
        lambda: spawner.Network("veth"),
        lambda: spawner.Network("veth", bridge="br0", gateway="10.0.0.1"),
        lambda: spawner.Publish(0),
        lambda: spawner.Namespaces("nets"),
        lambda: spawner.Namespaces("net", "net"),
        lambda: spawner.IdMap(["x"]),
    ],
)
def test_values_that_both_fronts_make_name_no_option(call: Callable[[], object]) -> None:
    """Nobody stands between them and who makes them in Python."""
    with pytest.raises(spawner.SpecError) as caught:
        call()
    said = f"{caught.value}{caught.value.hint}"
    assert MARK not in said
    assert "--" not in said


@pytest.mark.parametrize("quiet", [True, False])
def test_the_api_alone_is_told_the_marks(*, quiet: bool, capfd: pytest.CaptureFixture[str]) -> None:
    reader, writer = os.pipe()
    said = marked("add {--net}")
    told = report.Report(status=writer, quiet=quiet)
    told.failed(spawner.SpecError(said, said))
    event = json.loads(os.read(reader, 65536))
    os.close(reader)
    os.close(writer)
    assert event["message"] == event["hint"] == (said if quiet else "add --net")
    assert capfd.readouterr().err == ("" if quiet else "pyspawn: add --net\nhint: add --net\n")


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        ({"hostname": "x", "share": "uts"}, "a host name needs", 'add unshare="uts"'),
        ({"publish": 80}, "a port can be published only", 'network="pasta"'),
        ({"network": "pasta", "share": "net"}, 'network="pasta" needs', "leave net out of share"),
        (
            {"unshare": "pid", "share": "pid"},
            "in both unshare and share",
            "name it in only one of them",
        ),
        ({"network": "veth"}, "a veth needs a bridge", "as in veth:BRIDGE,"),
    ],
)
def test_what_makes_no_sense_is_told_in_keywords(
    given: dict[str, object], message: str, hint: str
) -> None:
    with pytest.raises(spawner.SpecError) as caught:
        words.command(["true"], given)
    assert message in str(caught.value)
    assert hint in (caught.value.hint or "")
    assert "--" not in f"{caught.value}{caught.value.hint}"


def test_a_hint_is_shown_below_a_traceback() -> None:
    require("pidns")
    with pytest.raises(spawner.SpecError) as caught:
        words.command(["true"], {"hostname": "x", "share": "uts"})
    for error in (caught.value, pickle.loads(pickle.dumps(caught.value))):
        shown = traceback.format_exception_only(error)
        assert shown[1:] == ['hint: add unshare="uts"\n']
    with pytest.raises(spawner.ExecError) as failed:
        spawner.run(["true x"])
    assert traceback.format_exception_only(failed.value)[1:] == [f"hint: {failed.value.hint}\n"]


def test_a_command_is_no_function() -> None:
    with pytest.raises(TypeError, match=r"not 'ls'; use isolated\.run"):
        isolate.call("ls")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "call",
    [
        lambda: spawner.run([]),
        lambda: spawner.run(["true"], namespaces=spawner.Namespaces("net"), unshare="net"),
        lambda: spawner.join(os.getpid(), ["true"], namespaces="nets"),
        lambda: spawner.join(os.getpid(), []),
    ],
)
def test_what_is_refused_here_has_its_hint_in_the_traceback(call: Callable[[], object]) -> None:
    """As what the launcher's command line refuses has."""
    with pytest.raises(spawner.SpecError) as caught:
        call()
    assert caught.value.hint
    shown = traceback.format_exception_only(caught.value)
    assert shown[1:] == [f"hint: {caught.value.hint}\n"]


def test_no_program_is_told_of_as_a_list() -> None:
    with pytest.raises(spawner.SpecError, match="no program was given") as caught:
        spawner.run([])
    assert caught.value.hint == "args is a list: the program and its arguments"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: spawner.run(["true"], env="A=1"), "env needs a mapping"),
        (lambda: spawner.join(None, ["true"]), "target needs a Process, a pid or a path, not None"),
        (lambda: spawner.join(["true"], "1"), "target needs a Process, a pid or a path"),
        (lambda: spawner.Network("pasta", publish=80), "publish needs Publish values"),
        (lambda: spawner.Network("pasta", publish="80"), "publish needs Publish values"),
    ],
)
def test_wrong_types_are_refused_with_words(call: object, message: str) -> None:
    assert callable(call)
    with pytest.raises(TypeError, match=message):
        call()
