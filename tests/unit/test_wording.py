"""Messages of the command line in words for Python."""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Callable

import pytest
from helpers.capabilities import require
from hypothesis import given
from hypothesis import strategies as st

import spawner
from spawner import isolate, keywords, options, wording, words


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("--unshare: 'nets' is none", "unshare: 'nets' is none"),
        ("add --time", 'add unshare="time"'),
        ("add --network slirp4netns or --network pasta",
         'add network="slirp4netns" or network="pasta"'),
        ("--network pasta needs one, and --share names it",
         'network="pasta" needs one, and share names it'),
        ("as in --network veth:b,address=10.1.0.2/24.",
         'as in network="veth:b,address=10.1.0.2/24".'),
        ("choose one, --setuid 0", "choose one, user=0"),
        ("-G, --setgid=GROUP: Run", 'group="GROUP": Run'),
        ("--groups: there's no group 7", "extra_groups: there's no group 7"),
        ("--map-users 1:OUTER:COUNT or --map-auto, or",
         'map_users="1:OUTER:COUNT" or map="auto", or'),
        ("name another with --workdir", "name another with cwd"),
        ("another init, --init=PATH", 'another init, init="PATH"'),
        ("do without, `--share user`", 'do without, `share="user"`'),
        ("take --propagation private or slave", 'take propagation="private" or slave'),
        ("add --user to --share all", 'add unshare="user" to share="all"'),
        ("`unshare --pid` does that", "`unshare --pid` does that"),
        ("(unshare has --map-root-user for that)", "(unshare has --map-root-user for that)"),
        ("`sudo pyspawn --persist DIR ...`", "`sudo pyspawn --persist DIR ...`"),
        ("docker run --cap-add SETFCAP", "docker run --cap-add SETFCAP"),
        ("chmod +x /x/--share", "chmod +x /x/--share"),
    ],
)  # fmt: skip
def test_options_become_keywords(text: str, said: str) -> None:
    assert wording.python(text) == said


def test_the_callers_own_id_is_mapped_by_name() -> None:
    assert wording.python("--map-user 5, or") == f'map_users="5:{os.geteuid()}:1", or'
    assert wording.python("--map-group 0,") == f'map_groups="0:{os.getegid()}:1",'


def test_kinds_of_a_join_are_namespaces() -> None:
    assert wording.python("name --user as well", wording.JOINED) == 'name namespaces="user" as well'


def test_every_option_that_a_keyword_stands_for_is_known() -> None:
    named = {keyword.option for keyword in keywords.TABLE.values() if keyword.option}
    for option in options.TABLE:
        said = wording.python(f"leave out --{option.long}")
        assert ("--" not in said) == (
            option.long in named | {"map-root-user", "map-current-user", "map-auto", "env"}
            or option.long in spawner.Namespaces("all").required
        )


@given(st.text().filter(lambda text: "--" not in text))
def test_what_names_no_option_stays(text: str) -> None:
    assert wording.python(text) == text


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        ({"hostname": "x", "share": "uts"}, "a host name needs", 'add unshare="uts"'),
        ({"publish": 80}, "a port can be published only", 'network="pasta"'),
        ({"network": "pasta", "share": "net"}, 'network="pasta" needs', "leave net out of share"),
        ({"unshare": "pid", "share": "pid"}, "in both unshare and share", "name it in one"),
        ({"network": "veth"}, "a veth needs the bridge", 'network="veth:'),
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
    with pytest.raises(TypeError, match=r"not 'ls'; a command is for isolated\.run"):
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
        (lambda: spawner.run(["true"], env="A=1"), "env takes a mapping"),
        (lambda: spawner.join(None, ["true"]), "target takes a Process, a pid or a path, not None"),
        (lambda: spawner.join(["true"], "1"), "target takes a Process, a pid or a path"),
        (lambda: spawner.Network("pasta", publish=80), "publish takes Publish values"),
        (lambda: spawner.Network("pasta", publish="80"), "publish takes Publish values"),
    ],
)
def test_wrong_types_are_refused_with_words(call: object, message: str) -> None:
    assert callable(call)
    with pytest.raises(TypeError, match=message):
        call()
