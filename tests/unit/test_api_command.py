"""What a call asks for becomes the launcher's command line, word by word."""

from __future__ import annotations

import asyncio
import errno
import json
import math
import os
import re
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from helpers import fake_launcher
from hypothesis import given, settings
from hypothesis import strategies as st

import spawner
from spawner import Namespaces, aio, lean
from spawner.api import joined, keywords, signatures
from spawner.command import run as launcher_options

SHOW = """
started()
words = [os.fsencode(word).hex() for word in sys.argv[1:]]
os.write(1, json.dumps(words).encode())
exited(0)
"""


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_launcher.launcher(monkeypatch, SHOW)


def words(args: Any, **options: Any) -> list[bytes]:
    """Return the words that the launcher got for a call, without those that tie it to us."""
    ended = spawner.run(args, stdout=spawner.PIPE, **options)
    all_words = [bytes.fromhex(word) for word in json.loads(ended.stdout)]
    ties = (b"--lifeline=", b"--json-status=")
    return [word for word in all_words if not word.startswith(ties)]


PLAIN = [b"--quiet", b"--die-with-parent", b"--background", b"--init"]
"""What is always said."""


RANGES = (b"--map-users=0:5:1", b"--map-users=1:9:7")


def test_the_defaults() -> None:
    assert words(["true"]) == [*PLAIN, b"--", b"true"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"init": "/sbin/tini", "input": b""}, [b"--init=/sbin/tini"]),
        ({"init": Path("/sbin/tini"), "input": b""}, [b"--init=/sbin/tini"]),
        ({"unshare": "all"}, [b"--unshare=all"]),
        ({"unshare": ["net", "time"]}, [b"--unshare=net,time"]),
        ({"unshare": (name for name in ("net", "time"))}, [b"--unshare=net,time"]),
        ({"unshare": ()}, []),
        ({"unshare": "NET,mnt"}, [b"--unshare=NET,mnt"]),
        ({"share": "ipc"}, [b"--share=ipc"]),
        ({"unshare_try": ("cgroup",)}, [b"--unshare-try=cgroup"]),
        ({"hostname": "box"}, [b"--hostname=box"]),
        ({"network": "none"}, [b"--network=none"]),
        (
            {"network": "pasta", "publish": 80},
            [b"--network=pasta", b"--publish=80"],
        ),
        (
            {"network": spawner.Network("pasta"), "publish": ["8080:80", spawner.Publish(81)]},
            [b"--network=pasta", b"--publish=8080:80", b"--publish=127.0.0.1:81:81/tcp"],
        ),
        (
            {"network": spawner.Network("pasta", publish=[spawner.Publish(8080, 80)])},
            [b"--network=pasta", b"--publish=127.0.0.1:8080:80/tcp"],
        ),
        ({"new_session": True}, [b"--new-session"]),
        ({"new_session": False}, []),
        ({"rights": spawner.Rights()}, []),
        (
            {"rights": spawner.Rights(cap_drop="all", cap_add=["BPF", "kill"], no_new_privs=True)},
            [b"--cap-drop=all", b"--cap-add=kill,bpf", b"--no-new-privs"],
        ),
        (
            {"unshare": "user", "rights": spawner.Rights(disable_userns=True)},
            [b"--unshare=user", b"--disable-userns"],
        ),
        (
            {"rights": spawner.Rights(landlock=spawner.Landlock(read=["/a", "/b"], bind=80))},
            [b"--landlock=read=/a", b"--landlock=read=/b", b"--landlock=bind=80"],
        ),
        ({"rights": spawner.Rights(seccomp="a b")}, [b"--seccomp=a b"]),
        ({"rights": spawner.Rights(seccomp=Path("5"))}, [b"--seccomp=./5"]),
        ({"limits": spawner.Limits()}, []),
        ({"mounts": spawner.Mounts()}, []),
        (
            {"mounts": spawner.Mounts(root=Path("-d"), read_only=True)},
            [b"--rootfs=-d", b"--read-only"],
        ),
        (
            {
                "mounts": spawner.Mounts(
                    [
                        spawner.Tmpfs("/a", size="1K"),
                        spawner.Bind("-s", Path("/a/b"), missing_ok=True),
                        spawner.Bind(Path("/s"), "//a/./c/", read_only=True),
                        spawner.Bind("/dev", "/d", devices=True),
                        spawner.Dev("/e"),
                    ]
                )
            },
            [
                *(b"--tmpfs=/a:size=1024", b"--bind-try=-s", b"/a/b"),
                *(b"--ro-bind=/s", b"/a/c", b"--dev-bind=/dev", b"/d", b"--dev=/e"),
            ],
        ),
        (
            {
                "limits": spawner.Limits(
                    rlimits={"as": "2G", "nofile": (5, 6)}, nice=-5, oom_score_adj=0
                )
            },
            [b"--rlimit=nofile=5:6", b"--rlimit=as=2147483648", b"--nice=-5", b"--oom-score-adj=0"],
        ),
        (
            {"network": spawner.Network("veth", bridge="br0", address="10.1.0.2/24")},
            [b"--network=veth:br0,address=10.1.0.2/24"],
        ),
        ({"propagation": "slave"}, [b"--propagation=slave"]),
        ({"mount_proc": True}, [b"--mount-proc"]),
        ({"mount_proc": False}, []),
        ({"mount_proc": Path("/mnt")}, [b"--mount-proc=/mnt"]),
        ({"map": "root"}, [b"--map-root-user"]),
        ({"map": "current"}, [b"--map-current-user"]),
        ({"map": None}, []),
        ({"map": "auto"}, [b"--map-auto"]),
        ({"map_users": "auto"}, [b"--map-users=auto"]),
        (
            {"map_users": [(0, 5, 1), (1, 9, 7)], "user": 0},
            [b"--map-users=0:5:1", b"--map-users=1:9:7", b"--setuid=0"],
        ),
        (
            {"map_groups": spawner.IdMap([(0, 5, 1)]), "group": 0},
            [b"--map-groups=0:5:1", b"--setgid=0"],
        ),
        ({"map_users": "0:5:1 1:9:7", "user": "0"}, [*RANGES, b"--setuid=0"]),
        ({"map_users": ["0:5:1", (1, 9, 7)], "user": 0}, [*RANGES, b"--setuid=0"]),
        ({"map_users": ["auto", "7:5:1"]}, [b"--map-users=auto", b"--map-users=7:5:1"]),
        ({"map_users": ["auto", (7, 5, 1)]}, [b"--map-users=auto", b"--map-users=7:5:1"]),
        ({"setgroups": "allow", "unshare": "user"}, [b"--setgroups=allow", b"--unshare=user"]),
        ({"user": 5, "group": 6}, [b"--setuid=5", b"--setgid=6"]),
        ({"user": "root"}, [b"--setuid=0", b"--setgid=0"]),
        ({"user": "root", "group": 5}, [b"--setuid=0", b"--setgid=5"]),
        ({"user": 5, "group": "root"}, [b"--setuid=5", b"--setgid=0"]),
        ({"extra_groups": [7, 8]}, [b"--groups=7,8"]),
        ({"extra_groups": ["root", 8, "9"]}, [b"--groups=0,8,9"]),
        ({"extra_groups": "7,root"}, [b"--groups=7,0"]),
        ({"extra_groups": ()}, [b"--groups="]),
        ({"extra_groups": "7,8"}, [b"--groups=7,8"]),
        (
            {"namespaces": Namespaces("pid,net", "time")},
            [b"--share=all", b"--unshare=net,pid", b"--unshare-try=time"],
        ),
        ({"namespaces": Namespaces("")}, [b"--share=all"]),
        ({"namespaces": None, "unshare": "net"}, [b"--unshare=net"]),
        ({"monotonic": 3600, "unshare": "time"}, [b"--monotonic=3600", b"--unshare=time"]),
        ({"monotonic": 0, "unshare": "time"}, [b"--monotonic=0", b"--unshare=time"]),
        ({"boottime": -5, "unshare": "all"}, [b"--boottime=-5", b"--unshare=all"]),
        ({"cwd": "/tmp"}, [b"--workdir=/tmp"]),
        ({"cwd": b"/tm\xff"}, [b"--workdir=/tm\xff"]),
        ({"cwd": Path("/tmp")}, [b"--workdir=/tmp"]),
        ({"stop_signal": signal.SIGINT}, [b"--stop-signal=2"]),
        ({"stop_signal": "QUIT"}, [b"--stop-signal=QUIT"]),
        ({"stop_timeout": 0}, [b"--stop-timeout=0.000000"]),
        ({"stop_timeout": 2.5}, [b"--stop-timeout=2.500000"]),
        ({"stop_timeout": 1e-5}, [b"--stop-timeout=0.000010"]),
        ({"stop_timeout": None}, [b"--stop-timeout=infinity"]),
        ({"stop_timeout": "infinity"}, [b"--stop-timeout=infinity"]),
        ({"stop_timeout": "2.5"}, [b"--stop-timeout=2.5"]),
        ({"stop_timeout": 1e300}, [b"--stop-timeout=1000000000.000000"]),
    ],
)
def test_each_option(options: dict[str, Any], expected: list[bytes]) -> None:
    said = words(["true"], **options)
    replaced = {f"--{name.replace('_', '-')}".encode() for name in options}
    plain = [word for word in PLAIN if word.partition(b"=")[0] not in replaced]
    assert sorted(said) == sorted([*plain, *expected, b"--", b"true"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"map": "me"}, "map: 'me' is not one of root, current, auto"),
        ({"network": "some"}, "'some' isn't a kind of network"),
        ({"network": "pasta", "publish": "some"}, "'some' can't be published"),
        ({"publish": 80}, "only into a network of the container's own"),
        ({"network": "none", "publish": 80}, "can't be published into the network none"),
        ({"map_users": "some"}, "map_users: 'some' is not INNER:OUTER:COUNT|'some' is not INNER"),
        ({"map_users": ()}, "maps nothing"),
        ({"map_users": ""}, "maps nothing"),
        (
            {"map_groups": [(0, 0, 1), (0, 1, 1)]},
            "the map 0:0:1 0:1:1 would map the inner id 0 twice",
        ),
        ({"map": "root", "map_users": [(0, 100000, 9)]}, "would map the inner id 0 twice"),
        ({"setgroups": "perhaps"}, "setgroups: 'perhaps' is neither allow nor deny"),
        ({"user": "no-such-one"}, "user: 'no-such-one' is neither a user of this host"),
        ({"group": "no-such-one"}, "group: 'no-such-one' is neither a group of this host"),
        ({"group": -1}, "group: '-1' is not an id"),
        ({"extra_groups": [-1]}, "extra_groups: '-1' is not an id"),
        ({"extra_groups": ["no-such-one"]}, "extra_groups: 'no-such-one' is neither a group of"),
        ({"user": "\udc80"}, "user: '.udc80' is neither a user of"),
        ({"user": ""}, "user: '' is neither a user of"),
        ({"unshare": "net,,time"}, "unshare: a name is missing"),
        ({"unshare": "nets"}, "'nets' is not a kind of namespace"),
        ({"namespaces": Namespaces("net"), "share": "net"}, "can't be given together with share"),
        ({"boottime": "an hour", "unshare": "time"}, "boottime: 'an hour' is not a whole number"),
        ({"init": ""}, "init: the path is empty"),
        ({"cwd": ""}, "cwd: the path is empty"),
        ({"stop_signal": "NOSUCH"}, "stop_signal: .*NOSUCH"),
        ({"stop_timeout": math.nan}, "stop_timeout: nan isn't a number of seconds"),
        ({"stop_timeout": math.inf}, "stop_timeout: inf isn't a number .* None means no limit"),
        ({"stop_timeout": -1}, "stop_timeout: -1 is a negative number of seconds"),
        ({"timeout": math.nan}, "timeout: nan isn't a number of seconds"),
        ({"timeout": math.inf}, "timeout: inf isn't a number"),
        ({"timeout": -0.5}, "timeout: -0.5 is a negative number"),
        ({"start_timeout": math.nan}, "start_timeout: nan isn't a number of seconds"),
        ({"umask": 0o1000}, "umask: 512 is not a mask of permissions"),
        *(({name: "a\0b"}, "NUL") for name in ("hostname", "cwd", "init", "user")),
        ({"init": Path("/a\0b")}, "NUL"),
        ({"env": {"A": "a\0b"}}, "env: the variable 'A' contains a NUL"),
        ({"env": {b"A\0": b""}}, "env: the variable b'A.*' contains a NUL"),
        (
            {"env": {"A": "\ud800"}},
            "env: '.ud800' can't be passed to a program: '.ud800' can't be encoded",
        ),
        ({"env": {"\ud800": "b"}}, "env: '.ud800' can't be passed to a program"),
        *(
            ({name: "a\ud800b"}, f"{name}: 'a.ud800b' can't be passed")
            for name in ("hostname", "cwd")
        ),
        ({"args": ["true", "a\ud800b"]}, r"args\[1\]: 'a.ud800b' can't be passed to a program"),
        ({"env": {"A=B": "c"}}, "env: 'A=B' can't be the name"),
        ({"env": {"": "c"}}, "env: '' can't be the name"),
    ],
)
def test_what_makes_no_sense_is_refused_with_words(options: dict[str, Any], message: str) -> None:
    with pytest.raises(spawner.SpecError, match=message):
        spawner.run(**{"args": ["true"], **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"map": 5}, "map needs 'root', 'current' or 'auto', not 5"),
        ({"network": 5}, "network needs a kind of network, or a Network, not 5"),
        ({"network": "pasta", "publish": 1.5}, "publish needs a port or several, .*, not 1.5"),
        ({"map_users": 5}, "map_users needs an IdMap, .*, not 5"),
        ({"map_users": [5]}, r"map_users needs an IdMap, .*, not \[5\]"),
        ({"map_users": [(1, 2)]}, r"map_users needs an IdMap, .*, not \[\(1, 2\)\]"),
        ({"rights": "all"}, "rights needs a Rights, not 'all'"),
        ({"new_session": 1}, "new_session needs True or False, not 1"),
        ({"mounts": [spawner.Tmpfs("/a")]}, "mounts needs a Mounts, not"),
        ({"limits": {"nofile": 5}}, "limits needs a Limits, not {'nofile': 5}"),
        ({"user": 1.5}, "user needs an id, which is a whole number, or a name, not 1.5"),
        ({"group": True}, "group needs an id"),
        ({"extra_groups": 5}, "extra_groups needs ids"),
        ({"extra_groups": ["5", b"6"]}, "extra_groups needs ids"),
        ({"hostname": b"box"}, "hostname needs text, not b'box'"),
        ({"unshare": 5}, "unshare needs the names of namespaces"),
        ({"unshare": [5]}, "unshare needs the names of namespaces"),
        ({"unshare": Namespaces("net")}, "unshare needs the names of namespaces"),
        ({"namespaces": "net"}, "namespaces needs a Namespaces, not 'net'"),
        ({"cwd": 5}, "cwd needs a path, not 5"),
        ({"env": {"A": 5}}, "expected str, bytes or os.PathLike object, not int"),
        ({"init": 5}, "init needs True, False or a path, not 5"),
        ({"monotonic": 0.5}, "monotonic needs a whole number of seconds"),
        ({"stop_signal": 1.0}, "stop_signal needs the number or the name of a signal"),
        ({"stop_timeout": b"soon"}, "stop_timeout needs a number of seconds, or None"),
        ({"timeout": "5"}, "timeout needs a number of seconds, or None, not '5'"),
        ({"umask": "022"}, "umask needs a mask of permissions, such as 0o022, not '022'"),
        ({"start_timeout": "5"}, "start_timeout needs a number of seconds, or None, not '5'"),
        ({"pass_fds": ["5"]}, "pass_fds needs descriptors, which are numbers, not '5'"),
    ],
)
def test_a_wrong_type_is_refused_with_words(options: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        spawner.run(["true"], **options)


@pytest.mark.parametrize("descriptor", [-1, 999, 1 << 40])
def test_a_closed_descriptor_is_what_the_kernel_says_of_it(descriptor: int) -> None:
    with pytest.raises(OSError, match=f"{descriptor} of pass_fds isn't open") as caught:
        spawner.run(["true"], pass_fds=[descriptor])
    assert caught.value.errno == errno.EBADF


def test_each_keyword_is_declared_once_and_everywhere() -> None:
    """In the table or as one of subprocess's, and for type checkers."""
    table = {*keywords.TABLE, *keywords.SUBPROCESS, "start_timeout"}
    assert {*signatures.Options.__annotations__} == table
    assert {*signatures.StartEither.__annotations__} == {*table, *keywords.TEXT}
    assert {*signatures.JoinEither.__annotations__} == {*joined.KEYWORDS}
    spellings = {option.long for option in launcher_options.TABLE}
    assert {keyword.option for keyword in keywords.TABLE.values()} - {""} <= spellings


def test_no_init() -> None:
    said = words(["true"], init=False)
    assert b"--init" not in said
    assert b"--background" in said


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ("true", [b"true"]),
        ("a program with spaces", [b"a program with spaces"]),
        (b"tr\xffue", [b"tr\xffue"]),
        (Path("/bin/true"), [b"/bin/true"]),
        (["true", Path("/a"), b"\xff", "-x", "--", "--init"], None),
        (("true", ""), [b"true", b""]),
    ],
)
def test_the_program_is_what_subprocess_makes_of_it(args: Any, expected: Any) -> None:
    said = words(args)
    assert said[said.index(b"--") + 1 :] == (expected or [os.fsencode(word) for word in args])


text = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]))


@settings(max_examples=25)
@given(st.lists(text | st.binary().filter(lambda word: b"\0" not in word), min_size=1, max_size=5))
def test_arguments_arrive_byte_for_byte(args: Sequence[str | bytes]) -> None:
    said = words(args)
    assert said[said.index(b"--") + 1 :] == [os.fsencode(word) for word in args]


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        (
            "hostnam",
            "x",
            r"run\(\) got an unexpected keyword argument 'hostnam': did you mean 'hostn",
        ),
        ("timeot", 1, "'timeot': did you mean 'timeout'"),
        ("txt", True, "'txt': did you mean 'text'"),
        (
            "shel",
            True,
            r"did you mean 'shell'\? There is no such keyword here: for a line of shell, use \['sh",
        ),
        ("workdir", "/", "'workdir': did you mean 'cwd'"),
        ("map_root_user", True, "'map_root_user': did you mean 'map'"),
        ("net", True, "'net': for a new namespace, use unshare='net'"),
        ("qqqqqq", 1, "unexpected keyword argument 'qqqqqq'$"),
        (
            "shell",
            True,
            r"run\(\) doesn't accept shell=True: for a line of shell, use \['sh', '-c', line\]",
        ),
        ("executable", "sh", "doesn't accept executable='sh': name the program first in args"),
        ("preexec_fn", print, "doesn't accept preexec_fn=.*: no Python runs between fork and exec"),
        ("close_fds", False, "doesn't accept close_fds=False: the program gets only"),
        ("restore_signals", False, "doesn't accept restore_signals=False: .*trap"),
        (
            "start_new_session",
            True,
            "doesn't accept start_new_session=True: new_session=True does that",
        ),
        ("process_group", 0, "doesn't accept process_group=0: with pyinit the program leads"),
        (
            "startupinfo",
            object(),
            "doesn't accept startupinfo=.*: that keyword exists only on Windows",
        ),
        ("creationflags", 8, "doesn't accept creationflags=8: that keyword exists only on Windows"),
    ],
)
def test_an_option_that_is_not_there_is_a_type_error(
    option: str, value: object, message: str
) -> None:
    calls = (spawner.run, spawner.plan, spawner.Process, aio.Process)
    others = (lambda *a, **k: spawner.join(os.getpid(), *a, **k), spawner.check_output)
    for call in (*calls, *others):
        with pytest.raises(TypeError) as caught:
            call(["true"], **{option: value})  # type: ignore[operator]
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 200
        assert option in str(caught.value)
    with pytest.raises(TypeError, match=message):
        spawner.run(["true"], **{option: value})


def test_a_plan_is_not_told_to_take_what_it_has_refused() -> None:
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'encoding'$"):
        spawner.plan(["true"], encoding="ascii")  # type: ignore[call-arg]


def test_what_asks_for_nothing_is_no_error() -> None:
    """What a wrapper passes on, or a program that was written for subprocess says."""
    said = words(
        ["true"],
        shell=False,
        executable=None,
        preexec_fn=None,
        close_fds=True,
        restore_signals=True,
        start_new_session=False,
        process_group=None,
        startupinfo=None,
        creationflags=0,
        umask=-1,
        pipesize=-1,
        bufsize=-1,
        text=None,
        universal_newlines=None,
        start_timeout=None,
    )
    assert said == [*PLAIN, b"--", b"true"]


@pytest.mark.parametrize(
    ("start", "option"),
    [
        (spawner.Process, "timeout"),
        (spawner.Process, "input"),
        (spawner.Process, "capture_output"),
        (spawner.Process, "check"),
        (spawner.call, "input"),
        (spawner.check_call, "check"),
        (lambda args, **k: spawner.join(os.getpid(), args, **k), "unshare"),
        (lambda args, **k: spawner.JoinedProcess(os.getpid(), args, **k), "timeout"),
    ],
)
def test_what_is_for_another_call_is_a_type_error(start: Any, option: str) -> None:
    with pytest.raises(
        TypeError, match=f"{option}.*: .*(accept it|accepts it|run.. does|only for new)"
    ):
        start(["true"], **{option: 1})


def test_the_two_names_of_text_agree() -> None:
    import subprocess

    assert spawner.run(["a"], stdout=-1, universal_newlines=True).stdout.startswith("[")
    assert asyncio.run(aio.run(["a"], stdout=-1, universal_newlines=True)).stdout.startswith("[")
    ended = spawner.run(["a"], stdout=-1, text=True, universal_newlines=1)  # type: ignore[call-overload]
    assert ended.stdout.startswith("[")
    for call in (spawner.run, subprocess.run):
        with pytest.raises(subprocess.SubprocessError, match="Cannot disambiguate"):
            call(["a"], text=False, universal_newlines=True)  # type: ignore[operator]


@pytest.mark.parametrize(
    "options",
    [
        {"input": b"", "stdin": spawner.PIPE},
        {"capture_output": True, "stdout": spawner.PIPE},
        {"capture_output": True, "stderr": spawner.PIPE},
    ],
)
def test_what_cannot_go_together_is_a_value_error(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="may not"):
        spawner.run(["true"], **options)


def test_the_interpreter_is_started_lean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    argv = lean.pyspawn()
    assert argv[1:3] == ["-I", "-S"]


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("memory", "use limits=spawner.Limits(memory=…)"),
        ("mem_limit", "use limits=spawner.Limits(memory=…)"),
        ("time_limit", "use limits=spawner.Limits(time=…)"),
        ("cap_add", "use rights=spawner.Rights(cap_add=…)"),
        ("seccomp", "use rights=spawner.Rights(seccomp=…)"),
        ("read_only", "use mounts=spawner.Mounts(read_only=…)"),
        ("volumes", "use mounts=spawner.Mounts([spawner.Bind(source, target)])"),
    ],
)
def test_an_option_as_a_keyword_leads_to_the_value_that_holds_it(name: str, instead: str) -> None:
    with pytest.raises(TypeError, match=re.escape(f"keyword argument '{name}': {instead}")):
        spawner.run(["true"], **{name: "x"})
