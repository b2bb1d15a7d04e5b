"""`--install-as NAME DIR`, and what it makes: a file that starts pyinit as NAME, fast."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path

import pytest
from helpers.capabilities import require
from helpers.programs import PLACE, pyinit, python
from helpers.running import Ended, run
from helpers.twins import environment

TOOLS = ("tini", "docker-init", "dumb-init", "catatonit")
NAMES = ("pyinit", *TOOLS)

LONG = "x" * 120
"""A directory's name that no first line of a script has room for."""


def install(*words: str, **how: object) -> Ended:
    return run(pyinit("--install-as", *words), environment=environment(), **how)


def lean(path: Path) -> bool:
    """Tell whether a file starts the lean interpreter at once."""
    return path.read_bytes().split(b"\n")[0].endswith(b" -ISXutf8")


@pytest.mark.parametrize("name", NAMES)
def test_each_name_is_made_and_works(name: str, tmp_path: Path) -> None:
    assert outcome_of(install(name, str(tmp_path))) == (0, b"", "")
    assert os.listdir(tmp_path) == [name]
    path = tmp_path / name
    assert lean(path)
    ended = run([str(path), "--", "sh", "-c", "exit 7"], environment=environment())
    assert (ended.status, ended.errors) == (7, "")


def outcome_of(ended: Ended) -> tuple[int, bytes, str]:
    return ended.status, ended.out, ended.errors


def test_the_name_may_stand_behind_an_equals_sign(tmp_path: Path) -> None:
    ended = run(pyinit("--install-as=tini", str(tmp_path)))
    assert ended.status == 0
    assert os.listdir(tmp_path) == ["tini"]


def test_one_interpreter_is_started_and_no_more(tmp_path: Path) -> None:
    install("tini", str(tmp_path))
    path = tmp_path / "tini"
    require("strace")
    strace = ["strace", "-f", "-qq", "-e", "trace=execve"]
    ended = run([*strace, str(path), "--", "/bin/true"], environment=environment())
    calls = [line for line in ended.errors.splitlines() if line.endswith(" = 0")]
    assert ended.status == 0
    assert len(calls) == 2
    assert str(path) in calls[0]
    assert '"/bin/true"' in calls[1]


def test_anybody_may_start_it_whatever_the_umask(tmp_path: Path) -> None:
    code = "import os, sys; os.umask(0o077); os.execv(sys.argv[1], sys.argv[1:])"
    assert run(python(code, *pyinit("--install-as", "tini", str(tmp_path)))).status == 0
    assert (tmp_path / "tini").stat().st_mode & 0o777 == 0o755


def test_the_interpreter_is_the_real_one(tmp_path: Path) -> None:
    interpreter = tmp_path / "bin" / "python"
    interpreter.parent.mkdir()
    interpreter.symlink_to(os.path.realpath(sys.executable))
    argv = [str(interpreter), *pyinit("--install-as", "tini", str(tmp_path))[1:]]
    assert run(argv).status == 0
    first = (tmp_path / "tini").read_text().splitlines()[0]
    assert first == f"#!{os.path.realpath(sys.executable)} -ISXutf8"


def copied(directory: str | bytes) -> None:
    """Copy the package alone into a directory, as into an image without an installer."""
    shutil.copytree(
        os.fsencode(PLACE) + b"/pyinit",
        os.path.join(os.fsencode(directory), b"pyinit"),
        ignore=lambda _, names: [name for name in names if b"__pycache__" in os.fsencode(name)],
    )


@pytest.mark.parametrize(
    "name",
    [b"plain", b"two words", b"quote'\"s", b"back\\slash", "\u00e9\u4e2d".encode(), b"\xff\xfe"],
)
def test_the_package_may_lie_anywhere(tmp_path: Path, name: bytes) -> None:
    home = os.path.join(os.fsencode(tmp_path), name)
    os.mkdir(home)
    copied(home)
    made = tmp_path / "made"
    made.mkdir()
    script = os.path.join(home, b"pyinit", b"__main__.py")
    ended = run([sys.executable, "-IS", script, "--install-as", "tini", str(made)])
    assert outcome_of(ended) == (0, b"", "")
    ended = run([str(made / "tini"), "--version"], environment={})
    assert ended.out.startswith(b"tini version ")


def test_every_byte_of_the_words_comes_through(tmp_path: Path) -> None:
    install("tini", str(tmp_path))
    for locale in ("C", "POSIX", "C.UTF-8", "en_US.ISO-8859-1"):
        variables = {"LC_ALL": locale, "PATH": os.defpath}
        ended = run([str(tmp_path / "tini"), "--", "printf", "%s", b"\xff\xc3(\xe9"],
                    environment=variables)  # fmt: skip
        assert ended.out == b"\xff\xc3(\xe9"


def test_our_own_is_made_anew(tmp_path: Path) -> None:
    for _ in range(2):
        assert install("tini", str(tmp_path)).status == 0
    assert os.listdir(tmp_path) == ["tini"]


@pytest.fixture
def aside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("aside")


KINDS = ["file", "script", "directory", "dangling", "link", "fifo", "link to a fifo", "socket"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_ours_stays(tmp_path: Path, aside: Path, kind: str) -> None:
    path = tmp_path / "tini"
    if kind == "file":
        path.write_bytes(b"\x7fELF")
    elif kind == "script":
        path.write_text("#!/bin/sh\nexec true\n")
    elif kind == "directory":
        path.mkdir()
    elif kind == "dangling":
        path.symlink_to("/nosuch/pyinit")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "link to a fifo":
        os.mkfifo(aside / "fifo")
        path.symlink_to(aside / "fifo")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))
    else:
        path.symlink_to("/bin/sh")
    before = path.lstat()
    ended = install("tini", str(tmp_path))
    assert (ended.status, ended.out) == (125, b"")
    assert ended.errors.count("\n") == 1
    assert f"{path} exists and doesn't start pyinit" in ended.errors
    assert path.lstat().st_ino == before.st_ino
    assert os.listdir(tmp_path) == ["tini"]


# Whatever temporary name it chooses, somebody had it first, and its own making then fails.
TAKEN = """
import os, posix
names = []
real = os.open
def taken(path, flags, *rest, **more):
    if flags & os.O_CREAT and len(names) < 3:
        names.append(path)
        os.close(real(path, os.O_WRONLY | os.O_CREAT, 0o600))
    return real(path, flags, *rest, **more)
os.open = taken
"""


def test_a_strangers_file_of_the_temporary_name_stays(tmp_path: Path) -> None:
    argv = pyinit("--install-as", "tini", str(tmp_path))
    argv = [str(word).replace("import pyinit", f"exec({TAKEN!r});import pyinit") for word in argv]
    assert outcome_of(run(argv, environment=environment())) == (0, b"", "")
    strangers = [path for path in tmp_path.iterdir() if path.name != "tini"]
    assert [path.read_bytes() for path in strangers] == [b""] * 3
    assert lean(tmp_path / "tini")


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    broken = "import os\ndef rename(*words): raise OSError(5, 'no')\nos.rename = rename\n"
    argv = pyinit("--install-as", "tini", str(tmp_path))
    argv = [str(word).replace("import pyinit", f"exec({broken!r});import pyinit") for word in argv]
    ended = run(argv, environment=environment())
    assert ended.status == 125
    assert "EIO" in ended.errors
    assert os.listdir(tmp_path) == []


def test_a_fifo_on_path_is_no_command(tmp_path: Path, far_python: str) -> None:
    os.mkfifo(tmp_path / "pyinit")
    argv = [far_python, *pyinit("--install-as", "tini", str(tmp_path))[1:]]
    ended = run(argv, environment=environment() | {"PATH": str(tmp_path)})
    assert ended.status == 125
    assert "no installed pyinit was found" in ended.errors


def command(directory: Path) -> Path:
    """Make the command that an installer makes, for the package under test."""
    directory.mkdir(exist_ok=True)
    path = directory / "pyinit"
    path.write_text(f"#!{sys.executable}\nimport pyinit.__main__\n")
    path.chmod(0o755)
    return path


WITH_PACKAGE = {"PYTHONPATH": PLACE}


def test_the_installed_command_becomes_a_lean_one(tmp_path: Path) -> None:
    path = command(tmp_path)
    assert not lean(path)
    variables = environment(WITH_PACKAGE)
    assert (
        run([str(path), "--install-as", "pyinit", str(tmp_path)], environment=variables).status == 0
    )
    assert lean(path)
    assert run([str(path), "--", "sh", "-c", "exit 3"]).status == 3


@pytest.mark.parametrize("name", TOOLS)
def test_a_link_to_the_command_is_a_twin_too(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.symlink_to(command(tmp_path / "bin"))
    variables = environment(WITH_PACKAGE)
    ended = run([str(path), "-?"], environment=variables)
    assert ended.status == 1
    assert ended.errors.startswith(f"{name}: invalid option -- '?'")
    # And found in PATH, where argv[0] comes as the kernel was given it.
    variables["PATH"] = f"{tmp_path}:{variables['PATH']}"
    ended = run(["env", name, "-?"], environment=variables)
    assert ended.errors.startswith(f"{name}: invalid option -- '?'")


@pytest.fixture
def far_python(tmp_path: Path) -> str:
    """Copy the interpreter where its path is too long for a script's first line."""
    path = tmp_path / LONG / "python"
    path.parent.mkdir()
    shutil.copy(os.path.realpath(sys.executable), path)
    ended = run([str(path), "-I", "-S", "-c", "pass"])
    if ended.status:
        pytest.skip(f"a copied interpreter doesn't start here: {ended.errors}")
    return str(path)


@pytest.mark.parametrize("beside", [True, False])
def test_else_it_is_a_link_to_the_command(tmp_path: Path, far_python: str, beside: bool) -> None:
    found = command(Path(far_python).parent if beside else tmp_path / "bin")
    made = tmp_path / "made"
    made.mkdir()
    variables = environment({"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"})
    argv = [far_python, *pyinit("--install-as", "tini", str(made))[1:]]
    assert outcome_of(run(argv, environment=variables)) == (0, b"", "")
    assert os.readlink(made / "tini") == str(found)
    ended = run([str(made / "tini"), "--version"], environment=environment(WITH_PACKAGE))
    assert ended.out.startswith(b"tini version ")
    # The link is ours too.
    assert outcome_of(run(argv, environment=variables)) == (0, b"", "")


def test_without_a_command_either_it_says_so(tmp_path: Path, far_python: str) -> None:
    argv = [far_python, *pyinit("--install-as", "tini", str(tmp_path))[1:]]
    ended = run(argv, environment={"PATH": "/nosuch"})
    assert ended.status == 125
    assert far_python in ended.errors
    assert ended.errors.count("\n") == 1
    assert not (tmp_path / "tini").exists()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "NAME DIR"),
        (["tini"], "NAME DIR"),
        (["tini", "/tmp", "more"], "NAME DIR"),
        (["init", "/tmp"], "'init' is not one of pyinit, tini, docker-init, dumb-init, catatonit"),
        (["", "/tmp"], "'' is not one of"),
        (["../tini", "/tmp"], "'../tini' is not one of"),
        (["tini", "/nosuch/directory"], "No such file or directory (ENOENT)"),
        (["tini", "/etc/passwd"], "Not a directory (ENOTDIR)"),
    ],
)
def test_mistakes(words: list[str], text: str, tmp_path: Path) -> None:
    ended = install(*words, directory=str(tmp_path))
    assert (ended.status, ended.out) == (125, b"")
    assert ended.errors.count("\n") == 1
    assert "--install-as" in ended.errors
    assert text in ended.errors
    assert os.listdir(tmp_path) == []


def test_a_directory_that_may_not_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    if os.access(tmp_path, os.W_OK):
        # Root may write anywhere but in a file system that is read-only, as /proc is to it.
        ended = install("tini", "/proc/self")
        assert "/proc/self/tini can't be made: " in ended.errors
    else:
        ended = install("tini", str(tmp_path))
        assert f"{tmp_path}/tini can't be made: Permission denied (EACCES)" in ended.errors
    assert ended.status == 125


def test_only_as_the_first_word(tmp_path: Path) -> None:
    for words in (["-g", "--install-as", "tini", str(tmp_path)], ["-v", "--as", "tini", "true"]):
        ended = run(pyinit(*words), environment=environment())
        assert ended.status == 125
        assert "only as the first word" in ended.errors
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", NAMES)
def test_another_user_may_start_what_root_made(name: str) -> None:
    require("other-user")
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        assert install(name, directory).status == 0
        become = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
        ended = run([*become, f"{directory}/{name}", "--", "sh", "-c", "exit 4"])
        assert ended.status == 4
