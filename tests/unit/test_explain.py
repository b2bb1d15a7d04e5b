"""Each step has its words, and the story of a plan is told in the order of its steps."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.programs import PLACE
from helpers.specs import specified

from spawner.caller import Caller
from spawner.life.persist import Kept
from spawner.limit.relay import Relay
from spawner.net.carrier import Carrier
from spawner.net.network import Network
from spawner.planning import lines, plan
from spawner.spec import KINDS, NAMESPACES, Namespaces, Spec
from spawner.steps import Part
from spawner.tell import explain
from spawner.tell.explain import TEXTS, Act, page, script, tell

SLIRP = Network("slirp4netns")
CALLER = Caller(user=1000, group=100, mask=(), ignored=(), search_path=b"/bin")

TREES = {str(path): ast.parse(path.read_bytes()) for path in Path(PLACE, "spawner").rglob("*.py")}


MAKERS = ("Step", "steps.Step", "mount_step")
"""The calls that make a step."""

PASSED_ON = ("step.topic", "topic")
"""What stands for a topic that was named elsewhere."""


def topics() -> Iterator[tuple[str, str]]:
    """Yield where a step names its topic, and the topic as a regular expression."""
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in MAKERS:
                for each in node.keywords:
                    if each.arg == "topic" and ast.unparse(each.value) not in PASSED_ON:
                        yield f"{name}:{node.lineno}", pattern(each.value)


def pattern(value: ast.expr) -> str:
    """Return a regular expression for what an expression may be."""
    if isinstance(value, ast.Constant):
        return re.escape(str(value.value))
    if isinstance(value, ast.IfExp):
        return f"(?:{pattern(value.body)}|{pattern(value.orelse)})"
    if isinstance(value, ast.FormattedValue):
        return r"\w+"
    assert isinstance(value, ast.JoinedStr), ast.unparse(value)
    return "".join(map(pattern, value.values))


TOPICS = dict(topics())


def test_the_steps_are_found() -> None:
    """A guard for the rest, which would hold for nothing at all."""
    assert len(TOPICS) > 15
    assert len({place.partition(":")[0] for place in TOPICS}) > 1


@pytest.mark.parametrize("place", TOPICS)
def test_each_step_has_words(place: str) -> None:
    assert any(re.fullmatch(TOPICS[place], topic) for topic in TEXTS), (
        f"{place}: a step's topic is not one of explain.TEXTS: say there what it does, and why now"
    )


def test_there_are_no_words_without_a_step() -> None:
    acts = {act.topic for act in vars(explain).values() if isinstance(act, Act)}
    unused = {
        topic
        for topic in TEXTS
        if topic not in acts and not any(re.fullmatch(each, topic) for each in TOPICS.values())
    }
    assert unused == set()
    assert {f"unshare-{kind}" for kind in NAMESPACES} <= set(TEXTS)


@pytest.mark.parametrize("topic", TEXTS)
def test_the_words_are_whole_sentences_with_a_manual_page(topic: str) -> None:
    text = TEXTS[topic]
    for sentences in (text.does, text.now):
        assert re.fullmatch(r"([A-Z]|new[ug]idmap).*[^.]\.", sentences), sentences
    assert re.fullmatch(r"(\w+\(\d(const)?\)(, )?)+", text.pages)


def spec(kinds: str, **more: object) -> Spec:
    return specified(["true"], namespaces=Namespaces(kinds), init="", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("kinds", ["", "pid", "all", "mount,pid", "user,mount"])
def test_the_story_has_every_step_in_order_and_the_acts_between(kinds: str) -> None:
    wanted = spec(kinds)
    planned = plan(wanted, CALLER)
    told = list(script(wanted, planned))
    assert [each for each in told if not isinstance(each, Act)] == list(planned)
    # What --dry-run says, in the same words and the same order.
    shown = list(lines(wanted, planned))
    heads = [tell(each).splitlines() for each in told]
    all_of_it = [f"{head.partition(':')[0]:8} {head.partition(':')[2]}: {call.strip()}"
                 for head, call, *_ in heads]  # fmt: skip
    assert [line for line in all_of_it if line in shown] == shown
    assert page(wanted, planned).endswith("".join(map(tell, told)))


def test_the_process_that_a_step_is_about_is_named() -> None:
    planned = plan(spec("user,pid"), CALLER)
    (step,) = (each for each in planned if each.topic == "map-uid")
    assert 'write("/proc/STAGE/uid_map", "0 1000 1")' in tell(step)
    assert 'write("/proc/42/uid_map", "0 1000 1")' in tell(step, "42")


def test_text_is_wrapped_and_calls_are_not() -> None:
    planned = plan(spec("all"), CALLER)
    for line in page(spec("all"), planned).splitlines():
        assert len(line) <= 88 or line.startswith("    "), line
    assert any(len(line) > 88 for line in page(spec("all"), planned).splitlines())


DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("kind", NAMESPACES)
def test_the_chapter_has_each_kind_with_its_flag_and_its_manual_page(kind: str) -> None:
    rows = (DOCS / "namespaces.md").read_text().splitlines()
    (row,) = (row for row in rows if row.startswith(f"| {kind} |"))
    *_, flag, whom, page, _ = (cell.strip() for cell in row.split("|"))
    assert flag == f"`{KINDS[kind].flag}`"
    assert page in TEXTS[f"unshare-{kind}"].pages
    assert ("children" in whom) == (kind in ("pid", "time"))


@pytest.mark.parametrize(
    ("more", "parts", "forks"),
    [
        ({}, (), 0),
        ({"network": Network("loopback")}, (), 0),
        ({"network": SLIRP}, (Carrier(SLIRP, "/usr/bin/slirp4netns"),), 1),
        ({"persist": "/run/x"}, (Kept(spec("all"), "/run/x"),), 0),
        ({"most": 5}, (Relay(5),), 0),
    ],
)
def test_a_fork_for_the_network_is_told_where_there_is_one(
    more: dict[str, object], parts: tuple[Part, ...], forks: int
) -> None:
    wanted = spec("all", **more)
    told = list(script(wanted, plan(wanted, CALLER, parts), parts))
    assert told.count(explain.FORK_ASIDE) == forks
    assert told.count(explain.FORK_FOR_OUTPUT) == ("most" in more)
