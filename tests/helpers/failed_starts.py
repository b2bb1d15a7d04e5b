"""Programs that can't be started, and what is to be said of them."""

from __future__ import annotations

from pathlib import Path

from helpers.programs import Word, prepared, pyinit
from helpers.running import Ended, run


def failed(ended: Ended, status: int, *words: str) -> None:
    """Check that an exec failed with `status`, and one line that holds `words`."""
    assert ended.status == status, ended
    assert ended.out == b""
    assert ended.errors.count("\n") == 1, ended
    assert ended.errors.startswith("pyinit["), ended
    for word in words:
        assert word in ended.errors, ended


def script(path: Path, text: str, mode: int = 0o755) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def with_path(path: str | None, *arguments: Word, directory: Path, prepare: str = "") -> Ended:
    change = f"os.chdir({str(directory)!r})\n"
    change += (
        "os.environ.pop('PATH', None)\n" if path is None else f"os.environ['PATH'] = {path!r}\n"
    )
    return run(prepared(change + prepare, pyinit("--", *arguments)))
