"""What ties the API to a launcher, where threads share it."""

from __future__ import annotations

import os
import signal
import subprocess
import threading

from spawner.api.ties import Pidfd


def test_a_pidfd_stays_open_while_anybody_waits() -> None:
    """Else the number could be another file's by then, and the wait would be for that."""
    with subprocess.Popen(["sleep", "inf"]) as process:
        pidfd = Pidfd(process.pid)
        descriptor = pidfd.descriptor
        assert descriptor is not None
        results: list[bool] = []
        thread = threading.Thread(target=lambda: results.append(pidfd.wait()))
        thread.start()
        while not pidfd._waiting:
            os.sched_yield()
        pidfd.close()
        assert "pidfd" in os.readlink(f"/proc/self/fd/{descriptor}")
        pidfd.send(signal.SIGKILL)  # of no effect: it's let go of
        assert pidfd.wait(0)  # who lets go has seen the end
        assert process.poll() is None
        process.kill()
        thread.join()
        assert results == [True]
        assert pidfd._file is not None
        assert pidfd._file.closed


def test_one_of_a_process_that_is_gone_is_at_its_end() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    pidfd = Pidfd(process.pid)
    assert pidfd.descriptor is None
    assert pidfd.wait(0)
    pidfd.send(signal.SIGKILL)
    pidfd.close()
