"""The workloads: what runs in the containers, and on the bare kernel. `app.py MODE [ARG]`.

Each prints what it has seen, then `ready`, then waits to be stopped.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import sys
import time

PATIENCE = 2.0
"""Seconds that an init is given to reap what has died: far more than one that reaps ever needs."""


def say(*words: object) -> None:
    """Write a line at once; not through a buffer, which a signal handler must not enter again."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def read(path: str) -> str:
    """Return what a file holds."""
    with open(path) as file:
        return file.read()


def zombies() -> int:
    """Count the dead that nobody has reaped, in this PID namespace."""
    count = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                stat = read(f"/proc/{name}/stat")
            except OSError:
                continue  # it ended while we were looking
            count += stat.rpartition(")")[2].split()[0] == "Z"
    return count


def settled_zombies() -> int:
    """Count the zombies once there are none left, or once there has been time to reap them."""
    deadline = time.monotonic() + PATIENCE
    while (count := zombies()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return count


def make_orphan() -> None:
    """Make a process whose parent ends before it, and return once it is dead.

    Raises BlockingIOError where there is no room for another process.
    """
    stay_read, stay_write = os.pipe()
    name_read, name_write = os.pipe()
    try:
        parent = os.fork()
        if parent == 0:
            try:
                child = os.fork()
            except BlockingIOError:
                os._exit(errno.EAGAIN)
            if child == 0:
                os.close(stay_write)
                os.read(stay_read, 1)
                os._exit(0)
            os.write(name_write, b"%d" % child)
            os._exit(0)
        if os.waitpid(parent, 0)[1]:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        pidfd = os.pidfd_open(int(os.read(name_read, 16)))
    finally:
        for descriptor in (stay_read, stay_write, name_read, name_write):
            os.close(descriptor)  # the end of file lets the orphan go
    select.select([pidfd], [], [])
    os.close(pidfd)


def wait_for_ever() -> None:
    """Do what a service does that nobody asks for anything. No handler, no mask."""
    say("ready")
    while True:
        signal.pause()


def serve() -> None:
    """Serve, without signal handlers, as many a Python service does."""
    wait_for_ever()


def graceful(number: str = "SIGTERM") -> None:
    """Serve until told to stop, then say so and exit with 3."""

    def told(received: int, _frame: object) -> None:
        say("told", signal.Signals(received).name)
        sys.exit(3)

    signal.signal(signal.Signals[number], told)
    wait_for_ever()


def storm(number: str) -> None:
    """Leave many orphans to die."""
    for _ in range(int(number)):
        make_orphan()
    say("zombies", settled_zombies(), "of", number)
    wait_for_ever()


def hoard(number: str) -> None:
    """Make orphans one by one, many more than a limit allows at a time, then all that it allows."""
    made = 0
    deadline = time.monotonic() + PATIENCE
    while made < int(number) and time.monotonic() < deadline:
        try:
            make_orphan()
        except BlockingIOError:
            time.sleep(0.01)  # room comes with the reaping of the dead, or never
        else:
            made += 1
            deadline = time.monotonic() + PATIENCE
    say("orphans", made, "of", number)
    say("crowd", crowd(), "then", crowd())
    wait_for_ever()


def crowd() -> int:
    """Fork until the limit is hit, end them all, and return how many they were."""
    people: list[int] = []
    while len(people) < 1000:
        try:
            pid = os.fork()
        except BlockingIOError:
            break
        if pid == 0:
            signal.pause()
        people.append(pid)
    for pid in people:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return len(people)


def probe() -> None:
    """Hang as a health check may, with a child that ends when the check is killed."""
    read_end, write_end = os.pipe()
    if os.fork() == 0:
        os.close(write_end)
        os.read(read_end, 1)
        os._exit(0)
    os.close(read_end)
    say("hangs")
    while True:
        signal.pause()


def count() -> None:
    """Say how many zombies there are."""
    say("zombies", settled_zombies())


def identity() -> None:
    """Say who runs this, with what rights, and whether the root can be written."""
    status = read("/proc/self/status")
    rights = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff"))
    try:
        os.close(os.open("/written", os.O_CREAT))
    except OSError as error:
        written = errno.errorcode[error.errno or 0]
    else:
        written = "yes"
    say("uid", os.getuid(), "gid", os.getgid(), "rights", int(rights, 16), "written", written)
    for _ in range(20):
        make_orphan()
    say("zombies", settled_zombies(), "of", 20)
    wait_for_ever()


def job() -> None:
    """Be a job for an interactive shell: tell when it runs, and when it runs again."""
    signal.signal(signal.SIGCONT, lambda *_: say("job", "continued"))
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    say("job", "started")
    while True:
        signal.pause()


def devour() -> None:
    """Take memory until there is no more."""
    hoarded = []
    while True:
        hoarded.append(b"x" * (1 << 20))


MODES = {
    function.__name__: function
    for function in (serve, graceful, storm, hoard, probe, count, identity, job, devour)
}

if __name__ == "__main__":
    MODES[sys.argv[1]](*sys.argv[2:])
