"""The public names: complete, lazy, and the same for type checkers as for a running program."""

from __future__ import annotations

import ast
import importlib
import inspect
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.capabilities import require

import pyinit
import spawner
from spawner import errors
from spawner.api import keywords, process, signatures, words


def fresh(code: str) -> str:
    """Return what a new interpreter prints that runs `code` with our packages on its path."""
    place = str(Path(spawner.__file__).parent.parent)
    lines = f"import sys; sys.path[:0] = [{place!r}]\n{code}"
    ended = subprocess.run(
        [sys.executable, "-I", "-S", "-c", lines], capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_every_name_is_there_and_listed() -> None:
    for name in spawner.__all__:
        assert getattr(spawner, name) is not None
        assert name in dir(spawner)
    assert sorted(set(spawner.__all__)) == sorted(spawner.__all__)


def test_all_that_the_modules_offer_is_public() -> None:
    def is_ours(value: object) -> bool:
        return isinstance(value, type) and issubclass(value, errors.SpawnerError)

    def own(module: object, home: str) -> set[str]:
        return {
            name
            for name, value in vars(module).items()
            if not name.startswith("_") and getattr(value, "__module__", None) == home
        }

    raised = {name for name in own(errors, "spawner.errors") if is_ours(getattr(errors, name))}
    offered = own(process, "spawner.api.process") | raised
    assert offered <= set(spawner.__all__)
    assert set(spawner.__all__) - offered == {
        *("DEVNULL", "PIPE", "STDOUT", "TimeoutExpired"),
        *("Extent", "IdMap", "Limits", "Namespaces", "Network", "PlanStep", "Publish", "Rights"),
        *("Bind", "Dev", "Mounts", "Overlay", "Tmpfs", "JoinedProcess", "Resources", "join"),
        "Change",
        *("Dir", "File", "Mask", "Mqueue", "Proc", "ReadOnly", "Symlink"),
        *("plan", "__version__", "Landlock"),
    }


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(spawner.__file__).read_text())
    seen = {
        alias.asname: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module != "__future__"
        for alias in node.names
        if alias.asname
    }
    assert seen.pop("aio") == "spawner"
    assert set(seen) == set(spawner.__all__)
    for name, home in seen.items():
        assert home is not None
        assert getattr(spawner, name) is getattr(importlib.import_module(home), name)


def test_the_twin_for_asyncio_is_there_when_it_is_looked_at() -> None:
    """A star import doesn't bring it, since it's large."""
    code = """
import spawner
from spawner import *
print("asyncio" in sys.modules, "aio" in globals(), "aio" in dir(spawner), spawner.aio.run.__name__)
"""
    assert fresh(code) == "False False True run\n"


def test_the_version_is_that_of_the_distribution() -> None:
    assert spawner.__version__ == pyinit.__version__


@pytest.mark.parametrize("module", ["api.child", "aio", "api.process"])
def test_each_public_attribute_says_what_it_is(module: str) -> None:
    """Where it's assigned, by a string below it; a property and a function have their own."""
    source = importlib.import_module(f"spawner.{module}").__file__
    assert source is not None
    for node in ast.walk(ast.parse(Path(source).read_text())):
        if not isinstance(node, ast.ClassDef):
            continue
        for place, below in zip(node.body, [*node.body[1:], None], strict=True):
            if isinstance(place, ast.AnnAssign) and not ast.unparse(place.target).startswith("_"):
                said = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
                assert said, f"{node.name}.{ast.unparse(place.target)}"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'spawner' has no attribute 'popen'"):
        _ = spawner.popen  # type: ignore[attr-defined]


def test_a_star_import_gives_all_names() -> None:
    printed = fresh("from spawner import *; print(*sorted(globals()))")
    assert set(spawner.__all__) <= set(printed.split())


def test_importing_the_package_imports_nothing_else_but_the_lock() -> None:
    code = (
        "before = set(sys.modules)\n"
        "import spawner\n"
        "print(*sorted(set(sys.modules) - before - {'spawner'}))"
    )
    assert fresh(code).split() == ["spawner.forks"]


def test_an_error_costs_no_import_of_subprocess() -> None:
    printed = fresh("import spawner; spawner.SetupError; print('subprocess' in sys.modules)")
    assert printed == "False\n"


def test_a_call_costs_no_import_of_asyncio_and_its_like() -> None:
    require("pidns")
    heavy = {
        *("asyncio", "pytest", "inspect", "dataclasses", "logging", "pickle", "ctypes", "_ctypes"),
        *("spawner.ids.idmap", "spawner.net.network", "spawner.planning", "spawner.linux"),
    }
    code = f"import spawner; spawner.run(['true']); print(*sorted({heavy} & set(sys.modules)))"
    assert fresh(code) == "\n"


def test_a_name_is_looked_up_without_a_fork() -> None:
    """Nor by what the launcher needs for it."""
    code = """
import os, spawner
os.register_at_fork(before=lambda: print("forked"))
for options in ({"user": "no-such-one"}, {"group": "no-such-one"}, {"extra_groups": "no-such-one"}):
    try:
        spawner.run(["true"], **options)
    except spawner.SpecError:
        continue
    print("found", options)
print(sorted({"spawner.ids.names", "spawner.linux", "spawner.host.running"} & set(sys.modules)))
"""
    assert fresh(code) == "[]\n"


@pytest.mark.parametrize("function", ["run", "Process"])
def test_its_help_names_all_that_can_be_said(function: str) -> None:
    shown = fresh(f"import pydoc, spawner; print(pydoc.render_doc(spawner.{function}))")
    said = set(re.findall(r"\w+", shown))
    assert {*keywords.TABLE, *keywords.SUBPROCESS} <= said


def test_constants_and_errors_are_those_of_subprocess() -> None:
    for name in ("DEVNULL", "PIPE", "STDOUT", "TimeoutExpired"):
        assert getattr(spawner, name) is getattr(subprocess, name)
    assert issubclass(spawner.CalledProcessError, subprocess.CalledProcessError)


@pytest.mark.parametrize(
    ("signal", "text"),
    [
        (None, "Command '['a']' returned non-zero exit status 137."),
        (9, "Command '['a']' was killed by SIGKILL."),
        (36, "Command '['a']' was killed by SIGRTMIN+2."),
    ],
)
def test_a_failed_command_pickles_and_says_why(signal: int | None, text: str) -> None:
    error = spawner.CalledProcessError(137, ["a"], b"out", b"err", signal)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is spawner.CalledProcessError
    assert vars(again) == vars(error)
    assert str(again) == str(error) == text


def test_what_subprocess_has_is_spelt_alike() -> None:
    def spelt(function: object) -> dict[str, object]:
        return {
            name: parameter.default
            for name, parameter in inspect.signature(function).parameters.items()  # type: ignore[arg-type]
        }

    popen, ours = spelt(subprocess.Popen.__init__), spelt(spawner.Process.__init__)
    shared = set(popen) & {*ours, *signatures.StartEither.__annotations__} - {"self"}
    assert shared == {
        *("args", "stdin", "stdout", "stderr", "text", "encoding", "errors", "bufsize"),
        *("cwd", "env", "pass_fds", "user", "group", "extra_groups"),
        *("universal_newlines", "pipesize", "close_fds", "umask"),
    }
    for name in shared & set(ours):
        assert ours[name] == popen[name]
    # What isn't given is subprocess's own affair, and what it has by default asks us for nothing.
    assert keywords.streams({}) == {}
    defaults = {name: popen[name] for name in shared - set(ours)}
    words.check_names("Process", defaults)
    assert words.command(["a"], defaults) == words.command(["a"], {})
    theirs, ours = spelt(subprocess.run), spelt(spawner.run)
    for name in ("input", "capture_output", "timeout", "check"):
        assert ours[name] == theirs[name]
    public = {name for name in dir(subprocess.Popen) if not name.startswith("_")}
    assert public - set(dir(spawner.Process)) == {"universal_newlines"}


def test_a_completed_process_pickles() -> None:
    ended = spawner.CompletedProcess(["a"], 137, b"out", None, signal=9, missing={"time": "no"})
    again = pickle.loads(pickle.dumps(ended))
    assert vars(again) == vars(ended)
    assert isinstance(again, subprocess.CompletedProcess)
