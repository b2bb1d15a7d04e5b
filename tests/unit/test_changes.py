"""Changes in overlays that can't be told."""

from __future__ import annotations

import json
import os
from pathlib import Path

from spawner.api.changed import Change, told
from spawner.mount.changes import Watch
from spawner.mount.mounts import Overlay


def test_where_reading_fails_a_line_says_that_it_is_not_all(tmp_path: Path) -> None:
    (tmp_path / "upper").touch()  # which can't be listed
    upper = os.open(tmp_path / "upper", os.O_RDONLY)
    lower = os.open(tmp_path, os.O_RDONLY)
    overlay = Overlay("/place", upper=tmp_path)
    with open(tmp_path / "told", "wb") as sheet:
        watch = Watch(sheet.fileno(), (overlay,))
        watch.send(overlay, upper, lower)
        watch.let_go()
        message = watch.tell()
    os.close(upper)
    os.close(lower)
    lines = [json.loads(line) for line in (tmp_path / "told").read_text().splitlines()]
    assert lines == [{"change": "unknown", "path": "/"}]
    assert message.endswith("Not a directory (ENOTDIR)")


def test_what_was_dropped_may_have_been_anywhere() -> None:
    lines = [{"change": "added", "path": "/a"}, {"change": "dropped", "count": 3}]
    assert told(lines) == (Change("added", "/a"), Change("unknown", "/"))
