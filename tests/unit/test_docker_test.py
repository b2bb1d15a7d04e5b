"""docker-test judges rightly: what is seen, what is not kept, what is left behind."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from helpers import packages
from hypothesis import given
from hypothesis import strategies as st

CHECKOUT = Path(__file__).parents[2]


if not (CHECKOUT / "docker-test").is_dir():
    pytest.skip("the tests lie without the sources", allow_module_level=True)
packages.load(CHECKOUT / "docker-test" / "enginetest")

from enginetest import breaks, cli, documented, kernel, leftovers, report, websocket  # noqa: E402
from enginetest.findings import Finding, Init, Verdict, judge  # noqa: E402
from enginetest.measure import Figures  # noqa: E402
from enginetest.promises import PROMISES  # noqa: E402
from enginetest.reading import LineReader, WaitError  # noqa: E402
from enginetest.report import Column  # noqa: E402

KEPT, NOT = Finding(True, "kept"), Finding(False, "not kept")


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        ({Init.PYINIT: KEPT, Init.NONE: NOT}, Verdict.KEPT),
        ({Init.PYINIT: KEPT, Init.NONE: NOT, Init.ENGINE: NOT}, Verdict.KEPT),
        ({Init.PYINIT: NOT, Init.NONE: NOT}, Verdict.NOT_KEPT),
        ({Init.PYINIT: KEPT, Init.PAUSE: NOT, Init.NONE: NOT}, Verdict.NOT_KEPT),
        ({Init.PYINIT: KEPT, Init.NONE: KEPT}, Verdict.UNPROVEN),
        ({Init.PYINIT: NOT, Init.NONE: KEPT}, Verdict.NOT_KEPT),
        ({Init.NONE: NOT}, Verdict.SKIPPED),
        ({}, Verdict.SKIPPED),
    ],
)
def test_what_a_container_without_init_keeps_too_shows_nothing(
    seen: dict[Init, Finding], verdict: Verdict
) -> None:
    assert judge(seen, broken_without=True) is verdict


def test_what_nothing_breaks_is_kept() -> None:
    assert judge({Init.PYINIT: KEPT, Init.NONE: KEPT}, broken_without=False) is Verdict.KEPT


def column(**changed: Finding) -> Column:
    """Return a column in which all is kept, but for the changes."""
    found = {
        promise.key: {Init.PYINIT: changed.get(promise.key, KEPT), Init.NONE: NOT}
        for promise in PROMISES
    }
    return Column("engine", found=found)


def test_a_report_is_good_only_where_all_of_it_is() -> None:
    def kept(one: Column) -> bool:
        return report.kept([column(), one], skips_allowed=False)

    assert kept(column())
    without = dataclasses.replace(column(), found={
        key: found for key, found in column().found.items() if key != "sandbox"
    })  # fmt: skip
    assert kept(dataclasses.replace(without, name="kernel"))
    assert not kept(without)
    assert not kept(column(storm=NOT))
    assert not kept(dataclasses.replace(column(), failure="broke off"))
    assert not kept(dataclasses.replace(column(), extras={"memory": NOT}))
    unasked = column()
    del unasked.found["storm"]
    assert not kept(unasked)
    missing = Column("engine", missing="can't be started")
    assert not kept(missing)
    assert report.kept([missing], skips_allowed=True)


def test_the_table_says_why_something_was_skipped() -> None:
    said = report.verdicts([column(storm=NOT), Column("other", missing="no such engine")])
    assert re.search(r"^no zombies after a storm.*NOT KEPT +skipped$", said, re.MULTILINE)
    assert "skipped: other: no such engine (everything)" in said


def test_what_an_init_adds_is_told_of_the_rounds() -> None:
    # The machine slows down: the medians lie 200 ms apart, and each round's difference is 10.
    bare = [0.1, 0.2, 0.3, 0.4, 0.5]
    with_init = [one + 0.01 for one in bare]
    figures = Figures({}, {"no init": bare, "pyinit": with_init}, {"pyinit": 1234})
    said = report.costs([dataclasses.replace(column(), figures=figures)])
    assert re.search(r"(?m)^engine +no init +- +300$", said)
    assert re.search(r"(?m)^ +pyinit +1,234 +310 +\+10 +\+10 to \+10$", said)


@pytest.mark.parametrize("name", breaks.BREAKS)
def test_a_break_changes_one_place_and_names_promises(name: str, tmp_path: Path) -> None:
    made = breaks.BREAKS[name]
    assert made.promises
    assert made.promises <= {promise.key for promise in PROMISES}
    broken = breaks.apply(name, CHECKOUT, tmp_path / "copy") / made.file
    assert broken.read_text() == (CHECKOUT / made.file).read_text().replace(made.old, made.new)
    compile(broken.read_text(), made.file, "exec")


def test_every_promise_is_one_that_a_break_breaks() -> None:
    reached = frozenset().union(*(made.promises for made in breaks.BREAKS.values()))
    of_pyspawn = {"sandbox"}  # the breaks are pyinit's
    assert reached == {promise.key for promise in PROMISES} - of_pyspawn


def test_a_break_has_to_break_just_what_hangs_on_it() -> None:
    assert report.breaks([column(shell=NOT)], "group")
    assert not report.breaks([column()], "group")
    assert not report.breaks([column(shell=NOT, storm=NOT)], "group")
    assert not report.breaks([column(shell=NOT), column()], "group")
    on_kernel = dataclasses.replace(column(status=NOT, hardened=NOT, pids=NOT), name="kernel")
    assert report.breaks([on_kernel], "status")
    assert not report.breaks([dataclasses.replace(on_kernel, name="docker")], "status")
    assert "kept nevertheless: shell" in report.breakage([column()], "group")
    assert "broken besides: storm" in report.breakage([column(shell=NOT, storm=NOT)], "group")


def test_the_page_has_each_promise_engine_and_option() -> None:
    page = (CHECKOUT / "docs" / "engines.md").read_text()
    for promise in PROMISES:
        assert f"\n| {promise.text} | " in page, promise.text
        assert re.search(rf"(?m)^{re.escape(promise.text)} .*kept", page), promise.text
    (heads,) = re.findall(r"(?m)^promise +(.*)$", page)
    assert tuple(heads.split()) == cli.ENGINES
    assert "NOT KEPT" not in page
    for option in ("--engine", "--no-figures", "--break"):
        assert f"{option} " in page or f"{option}\n" in page or f"={option}" in page, option
        assert cli.parse([option, *{"--engine": ["docker"], "--break": ["group"]}.get(option, [])])


def test_what_the_pages_show_is_found() -> None:
    shown = documented.shown()
    commands = [line.command for line in shown.install]
    assert "make wheel" in commands
    assert any(".whl" in command for command in commands)
    assert any(line.output for line in shown.install)
    assert [line.command.split()[1] for line in shown.docker] == ["build", "run", "stop"]
    assert not any("--init" in line.command for line in shown.docker)
    pages = [(CHECKOUT / name).read_text() for name in ("README.md", "docs/engines.md")]
    assert len(shown.dockerfiles) == sum(page.count("\n```dockerfile\n") for page in pages)
    assert all(text.startswith("FROM python:3-slim") for text in shown.dockerfiles)
    # What is shown first is what works everywhere.
    for word in ("python3 -m venv", "COPY --from=", "\nUSER 1000", ".whl"):
        assert word in shown.dockerfiles[0]
    assert "init:" not in shown.compose
    assert ["shareProcessNamespace: true" in pod for pod in shown.pods] == [False, True]


def test_lines_are_read_with_what_is_below_them() -> None:
    text = "## One\n```console\n$ a b\nsaid\nmore\n$ c\n```\n## Two\n```console\n$ d\n```\n"
    one = documented.lines(documented.section(text, "One"))
    assert one == (documented.Line("a b", "said\nmore\n"), documented.Line("c", ""))
    assert documented.lines(documented.section(text, "Two")) == (documented.Line("d", ""),)


def test_a_page_that_shows_nothing_is_no_success(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "engines.md").write_text("")
    compose = "```yaml\nservices:\n```\n"
    (tmp_path / "README.md").write_text(f"## Install\n## In an image\n{compose}")
    with pytest.raises(ValueError, match="don't show"):
        documented.shown(tmp_path)


@given(st.binary(max_size=70000), st.binary(min_size=4, max_size=4), st.binary(max_size=9))
def test_frames_of_a_websocket(payload: bytes, key: bytes, rest: bytes) -> None:
    framed = websocket.frame(websocket.BINARY, payload, key)
    head = len(framed) - len(payload)
    assert framed[head - 4 : head] == key
    unmasked = bytes(byte ^ key[i % 4] for i, byte in enumerate(framed[head:]))
    assert unmasked == payload
    # As a server would send it: without the mask.
    plain = bytes([framed[0], framed[1] & 0x7F]) + framed[2 : head - 4] + payload
    assert websocket.split(plain + rest) == (websocket.BINARY, payload, rest)
    assert websocket.split(plain[:-1]) is None


def boot(*lines: str, clean: bool = True, **findings: Finding) -> kernel.Boot:
    return kernel.Boot(findings, list(lines), clean)


def boots(**changed: kernel.Boot) -> dict[str, kernel.Boot]:
    """Return what boots say that are as promised, but for the changes."""
    panic = "Attempted to kill init! exitcode=0x0000{:02x}00"
    as_promised = {
        "main": boot(storm=KEPT, stop=KEPT),
        "bare": boot(storm=NOT),
        "shell": boot(shell=KEPT),
        "exit": boot(panic.format(42)),
        "killed": boot(panic.format(137)),
        "hardened": boot("who", "zombies 0 of 20", "ready", panic.format(143)),
        **{way: boot(image=KEPT, stop=KEPT) for way in kernel.WAYS},
    }
    return as_promised | changed


def not_kept(seen: dict[str, kernel.Boot]) -> set[str]:
    found = kernel.assemble(seen, "who")
    return {key for key, row in found.items() if not row[Init.PYINIT].kept}


def test_boots_as_promised() -> None:
    found = kernel.assemble(boots(), "who")
    assert not_kept(boots()) == set()
    assert found["storm"] == {Init.PYINIT: KEPT, Init.NONE: NOT}
    assert found["status"][Init.PYINIT].detail.startswith("exit 42: 42; kill -9: 137")


@pytest.mark.parametrize(
    ("changed", "keys"),
    [
        ({"main": boot(storm=NOT, stop=KEPT)}, {"storm"}),
        ({"main": boot(storm=KEPT, stop=KEPT, clean=False)}, {"stop"}),
        ({"main": boot(failed=NOT)}, {"failed", "stop"}),
        ({"shell": boot("last words")}, {"shell"}),
        ({"exit": boot("no panic")}, {"status"}),
        ({"killed": boot("Attempted to kill init! exitcode=0x00008f00")}, {"status"}),
        ({"as-tini": boot(image=NOT, stop=KEPT)}, {"as-tini"}),
        ({"copied": boot(image=KEPT)}, {"copied"}),
        ({"multi-stage": boot(image=KEPT, stop=KEPT, clean=False)}, {"multi-stage"}),
        ({"hardened": boot("root", "zombies 0 of 20", "ready")}, {"hardened"}),
        ({"hardened": boot("no line")}, {"hardened"}),
    ],
)
def test_boots_that_are_not(changed: dict[str, kernel.Boot], keys: set[str]) -> None:
    assert not_kept(boots(**changed)) == keys


@pytest.mark.parametrize(
    ("line", "record"),
    [
        ('@ {"promise": "storm"}', {"promise": "storm"}),
        ('[    3.2] noise @ {"a": 1}', {"a": 1}),
        ("@ {", {}),
        ('@ {"a": ', {}),
        ("ready", {}),
        ("", {}),
    ],
)
def test_records_on_a_console(line: str, record: dict[str, object]) -> None:
    assert kernel.parse(line) == record


def test_a_reader_of_lines_gives_up(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    file.write_bytes(b"one\r\ntwo")
    with file.open("rb") as lines:
        reader = LineReader(lines.fileno(), "file")
        assert [reader.line(), reader.line(), reader.line()] == ["one", "two", None]
        with pytest.raises(WaitError, match="it ended"):
            reader.until(lambda line: line == "three")


def test_leftovers_are_told_from_what_others_made() -> None:
    before = dataclasses.replace(leftovers.Snapshot.take(), mounts=frozenset(), policy=False)
    after = dataclasses.replace(
        before,
        mounts=before.mounts | {"/var/tmp/the-run/mounted", "/run", "/mnt/theirs"},
        cgroups=before.cgroups | {"/sys/fs/cgroup/the-run/one", "/sys/fs/cgroup/theirs"},
        loops=before.loops | {"/var/tmp/the-run/image", "/srv/theirs"},
        interfaces=before.interfaces | {"docker0", "eth7"},
        users=before.users | {leftovers.USER, "theirs"},
        policy=True,
    )
    assert leftovers.left(before, before, "the-run") == []
    assert leftovers.left(before, after, "the-run") == [
        "mount /run",
        "mount /var/tmp/the-run/mounted",
        "cgroup /sys/fs/cgroup/the-run/one",
        "loop device on /var/tmp/the-run/image",
        "network interface docker0",
        f"user {leftovers.USER}",
        "file /usr/sbin/policy-rc.d",
    ]
