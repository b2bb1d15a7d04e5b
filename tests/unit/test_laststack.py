"""What faulthandler writes, read."""

from __future__ import annotations

import traceback

from spawner.api import laststack
from spawner.api.laststack import Place

DUMP = rb"""Fatal Python error: Aborted

Thread 0x00007f0d3f7fe6c0 (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 324 in wait
  File "/usr/lib/python3.11/threading.py", line 1002 in _bootstrap

Current thread 0x00007f0d4f4b5740 (most recent call first):
  File "/tmp/gr\xfc\u00dfe/\udcff.py", line 3 in <lambda>
  File "/tmp/a ", line 7 in b.py", line 12 in main
  File "/tmp/a.py", line 20 in <module>

Current thread's C stack trace (most recent call first):
  Binary file "/usr/bin/python3", at _Py_DumpStack+0x48 [0x5f6]

Extension modules: psutil._psutil_linux (total: 1)
"""


def test_the_main_thread_is_read() -> None:
    assert laststack.read(DUMP) == [
        Place("/tmp/a.py", 20, "<module>"),
        Place('/tmp/a ", line 7 in b.py', 12, "main"),
        Place("/tmp/gr\xfc\xdfe/\udcff.py", 3, "<lambda>"),
    ]


def test_nothing_is_read_of_nothing() -> None:
    assert laststack.read(b"") == []
    assert laststack.rebuilt([]) is None


def test_the_traceback_shows_the_places() -> None:
    places = [Place(__file__, 3, "one"), Place("/nosuch.py", 70000, "two")]
    shown = traceback.extract_tb(laststack.rebuilt(places))
    assert [(place.filename, place.lineno, place.name) for place in shown] == places
    assert [place.line for place in shown] == ["from __future__ import annotations", ""]
