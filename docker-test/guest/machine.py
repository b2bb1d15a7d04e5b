"""The workload of a whole machine: runs below pyinit as PID 1 of a kernel, with all its rights.

`machine.py MODE [ARG]`. Each finding goes to the console as a line `@ {"promise": …}`; at the end
the machine is switched off. Knows nothing of the host.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from enginetest.reading import LineReader, eventually
from enginetest.terminal import CTRL_C, CTRL_Z, Pty, Terminal

POWER_OFF = 0x4321FEDC  # LINUX_REBOOT_CMD_POWER_OFF, linux/reboot.h
CAD_OFF = 0x00000000  # LINUX_REBOOT_CMD_CAD_OFF: Ctrl-Alt-Del is SIGINT to PID 1
REMOUNT_READ_ONLY = 0x1 | 0x20 | 0x1000  # MS_RDONLY, MS_REMOUNT, MS_BIND, linux/mount.h
PR_CAPBSET_DROP = 24  # linux/prctl.h
PR_SET_NO_NEW_PRIVS = 38
ALL_BUT_TIME = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
LIBC = ctypes.CDLL(None, use_errno=True)

APP = ("python3", "/app/app.py")
CGROUP = Path("/sys/fs/cgroup")
QUESTION = signal.SIGRTMIN
ORPHANS = 500
PIDS_MAX = 20
MEMORY_MAX = 48 << 20
USER = 1234
"""An ordinary user's id, and the id of their group."""

MOUNTS = (
    ("proc", "/proc", "proc"),
    ("sysfs", "/sys", "sysfs"),
    ("cgroup2", "/sys/fs/cgroup", "cgroup2"),
    ("devtmpfs", "/dev", "devtmpfs"),
    ("devpts", "/dev/pts", "devpts"),
    ("tmpfs", "/tmp", "tmpfs"),
)


def report(promise: str, kept: bool, detail: str) -> None:
    """Tell the host what was found."""
    tell({"promise": promise, "kept": kept, "detail": detail})


def tell(record: dict[str, object]) -> None:
    """Write a record to the console, on a line of its own."""
    print("\n@", json.dumps(record), flush=True)


def checked(promise: str, check: Callable[[], tuple[bool, str]]) -> None:
    """Run a check and report what it found, or how it failed."""
    try:
        kept, detail = check()
    except Exception as error:  # noqa: BLE001  the next check goes on
        kept, detail = False, f"{type(error).__name__}: {error}"
    report(promise, kept, detail)


def prepare() -> None:
    """Set the search path and mount what a system has: nobody has done it before us."""
    os.environ["PATH"] = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
    for source, target, kind in MOUNTS:
        Path(target).mkdir(parents=True, exist_ok=True)
        if LIBC.mount(source.encode(), target.encode(), kind.encode(), 0, None):
            number = ctypes.get_errno()
            if number != errno.EBUSY:
                raise OSError(number, os.strerror(number), target)


def switch_off() -> NoReturn:
    """Power the machine off, reboot(2)."""
    os.sync()
    LIBC.reboot(POWER_OFF)
    raise OSError(ctypes.get_errno(), "reboot")


def reboot_keys_to_pid_1() -> None:
    """Have Ctrl-Alt-Del sent to PID 1 as SIGINT, in place of an immediate reboot, reboot(2)."""
    LIBC.reboot(CAD_OFF)


# As PID 1's child: the promises.


def storm() -> tuple[bool, str]:
    """Orphans by the hundred, reaped by PID 1."""
    line = app("storm", str(ORPHANS))
    return line == f"zombies 0 of {ORPHANS}", line


def app(*mode: str) -> str:
    """Run a mode of the app until it is ready and end it; return its first line."""
    with subprocess.Popen((*APP, *mode), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        process.stdout.readline()
        process.kill()
    return line


def executed() -> tuple[bool, str]:
    """What is left of commands that timed out is reaped."""
    return time_out()


def time_out(*prefix: str) -> tuple[bool, str]:
    """Run two commands into a time-out, and count the zombies that they leave."""
    seconds, hung = 1, 0
    while hung < 2:
        if "hangs" in output(*prefix, "timeout", str(seconds), *APP, "probe"):
            hung += 1
        else:
            seconds *= 2  # the time was over before it had begun to hang
    line = output(*prefix, *APP, "count").strip()
    return line == "zombies 0", line


def health(*options: str) -> tuple[bool, str]:
    """What health checks leave that enter pyspawn's namespaces from outside, as an engine's do."""
    status, other_end = os.pipe()
    command = ("pyspawn", "--unshare", "all", *options, "--json-status", str(other_end))
    with subprocess.Popen(
        (*command, "--", *APP, "serve"), stdout=subprocess.PIPE, pass_fds=(other_end,)
    ) as process:
        assert process.stdout is not None
        os.close(other_end)
        created = json.loads(LineReader(status, "pyspawn's status").line() or "{}")
        process.stdout.readline()
        try:
            enter = ("python3", __file__, "enter", str(created["host_pid"]))
            return time_out(*enter)
        finally:
            process.kill()
            os.close(status)


def output(*argv: str) -> str:
    """Run a command to its end and return what it printed."""
    return subprocess.run(argv, stdout=subprocess.PIPE, text=True).stdout


def forwarding() -> tuple[bool, str]:
    """Signals sent to PID 1 come back to us: a queue of real-time ones in order, and SIGTERM."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {QUESTION, signal.SIGTERM})
    count = 100
    for value in range(count):
        queue(QUESTION, value)
    for _ in range(count):
        if signal.sigtimedwait({QUESTION}, 5) is None:
            return False, "a real-time signal was lost"
    os.kill(1, signal.SIGTERM)
    told = signal.sigtimedwait({signal.SIGTERM}, 5) is not None
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {QUESTION, signal.SIGTERM})
    return told, f"{count} real-time signals and {'SIGTERM' if told else 'no SIGTERM'} came"


def queue(number: int, value: int) -> None:
    """Send PID 1 a signal with a value, sigqueue(3)."""
    if LIBC.sigqueue(1, int(number), ctypes.c_void_p(value)):
        raise OSError(ctypes.get_errno(), "sigqueue")


def rights() -> tuple[bool, str]:
    """The workload has every capability, as a machine's init gives it."""
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    status = Path("/proc/self/status").read_text()
    effective = int(next(x.split()[1] for x in status.splitlines() if x.startswith("CapEff")), 16)
    controllers = (CGROUP / "cgroup.controllers").read_text().split()
    kept = effective == (1 << (last + 1)) - 1 and {"pids", "memory"} <= set(controllers)
    return kept, f"capabilities {effective:x}, cgroup v2: {' '.join(controllers)}"


# pyspawn on the machine, in cgroups of its own.


def group(name: str, **limits: int) -> Path:
    """Make a cgroup with limits, each `controller_file=value`."""
    (CGROUP / "cgroup.subtree_control").write_text("+pids +memory")
    place = CGROUP / name
    place.mkdir(exist_ok=True)
    for limit, value in limits.items():
        (place / limit.replace("_", ".", 1)).write_text(str(value))
    return place


def spawn(place: Path, *words: str) -> list[str]:
    """Return the command that runs pyspawn with its words in a cgroup."""
    inside = 'echo $$ >"$0/cgroup.procs"; exec pyspawn --unshare all "$@"'
    return ["sh", "-c", inside, str(place), *words]


def pids(*options: str) -> tuple[bool, str]:
    """Under pids.max orphans take no place for ever, and a full house is survived."""
    place = group("pids", pids_max=PIDS_MAX)
    asked = PIDS_MAX * 5
    with subprocess.Popen(
        spawn(place, *options, "--", *APP, "hoard", str(asked)), stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        lines = LineReader(process.stdout.fileno(), "pyspawn")
        orphans, crowd = lines.line() or "", lines.line() or ""
        lines.until(lambda line: line == "ready")
        denied = (place / "pids.events").read_text().split()[1]
        if options:
            process.terminate()
        else:
            process.kill()  # what has no init does not end of SIGTERM
        status = process.wait()
    if not options:
        eventually(lambda: "populated 0" in (place / "cgroup.events").read_text(), "the end of all")
    empty = not (place / "cgroup.procs").read_text()
    place.rmdir()
    kept = orphans == f"orphans {asked} of {asked}" and status == 143 and denied != "0" and empty
    return kept, f"{orphans}, {crowd}, {denied} forks denied, {status}"


def memory() -> tuple[bool, str]:
    """Where memory runs out the workload is killed, told so by its status, and nothing is left."""
    place = group("memory", memory_max=MEMORY_MAX)
    status = subprocess.run(spawn(place, "--init", "--", *APP, "devour")).returncode
    events = dict(line.split() for line in (place / "memory.events").read_text().splitlines())
    empty = not (place / "cgroup.procs").read_text()
    place.rmdir()
    kept = status == 137 and events["oom_kill"] != "0" and empty
    return kept, f"oom_kill {events['oom_kill']}, {status}"


def limits() -> tuple[bool, str]:
    """The limits of pyspawn's own options hold, and what was used is told; no group is left."""
    (CGROUP / "cgroup.subtree_control").write_text("+pids +memory +cpu +cpuset +io")
    show = "for f in memory.max memory.swap.max pids.max cpu.max cpu.weight cpuset.cpus; do"
    show = f"cat /proc/self/cgroup; {show} cat /sys/fs/cgroup/pyspawn-*/$f; done"
    options = ("--memory=48M", "--pids-limit=30", "--cpus=0.5", "--cpu-weight=50", "--cpuset=0")
    seen = output("pyspawn", *options, "--", "sh", "-c", show).split("\n")
    held = seen[:-1] == ["0::/", str(48 << 20), "0", "30", "50000 100000", "50", "0"]
    events = reported("--init", "--memory=48M", "--", *APP, "devour")
    used, ended = events.get("resources", {}), events.get("exited", {})
    told = (ended.get("status"), ended.get("limit")) == (137, "memory")
    told = told and used.get("memory_peak") == 48 << 20 and used.get("oom_kills") == 1
    told = told and used.get("cgroup") == "v2" and bool(used.get("cpu_seconds"))
    left = [path.name for path in CGROUP.glob("pyspawn-*")]
    detail = f"{len(seen) - 1} values {'as asked' if held else seen}, {used}, {ended}, left {left}"
    return held and told and not left, detail


def delegated() -> tuple[bool, str]:
    """An ordinary user has limits in a group that is theirs; those of groups that are left hold."""
    (CGROUP / "cgroup.subtree_control").write_text("+pids +memory +cpu")
    place = CGROUP / "delegated"
    own = place / "own"
    own.mkdir(parents=True)
    (place / "cgroup.subtree_control").write_text("+pids +memory")
    (own / "pids.max").write_text("25")
    for directory in (place, own):
        for path in (directory, directory / "cgroup.procs", directory / "cgroup.subtree_control"):
            os.chown(path, USER, USER)
    show = "cat /proc/self/cgroup /sys/fs/cgroup/delegated/pyspawn-*/memory.max"
    show = f"{show} /sys/fs/cgroup/delegated/pyspawn-*/pids.max"
    inside = f'echo $$ >{own}/cgroup.procs; exec python3 -c "$0" "$@"'
    become = f"import os, sys; os.setgroups([]); os.setgid({USER}); os.setuid({USER})"
    become += "; os.execvp(sys.argv[1], sys.argv[1:])"
    command = ("sh", "-c", inside, become, "pyspawn", "--init")
    seen = output(*command, "--memory=48M", "--", "sh", "-c", show).split()
    refused = subprocess.run((*command, "--cpus=1", "--", "true"), capture_output=True, text=True)
    left = [path.name for path in place.glob("pyspawn-*")]
    own.rmdir()
    place.rmdir()
    kept = seen == ["0::/", str(48 << 20), "25"] and refused.returncode == 125 and not left
    return kept, f"{' '.join(seen)}, left {left}; {refused.stderr.splitlines()[:1]}"


def crowded() -> tuple[bool, str]:
    """Whose zombies take up the limit on processes is told."""
    (CGROUP / "cgroup.subtree_control").write_text("+pids")
    # Each is a zombie before the next is forked, and stays one.
    wait = "os.waitid(os.P_PID, os.fork() or os._exit(0), os.WEXITED | os.WNOWAIT)"
    fork = f"while True:\n try: {wait}\n except OSError: break"
    code = f"import os, sys\n{fork}\nprint('full', flush=True); sys.stdin.read(); sys.exit(3)"
    command = ("pyspawn", "--init", "--pids-limit=20", "--", "python3", "-c", code)
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        files = Path(f"/proc/{process.pid}/fd")

        def has_looked() -> bool:
            try:
                return not any("inotify" in os.readlink(each) for each in files.iterdir())
            except FileNotFoundError:  # that was it, perhaps
                return False

        eventually(has_looked, "the look at the zombies")
        _, errors = process.communicate()
    kept = "20 processes and threads, 18 of them zombies, children of python3 (" in errors
    return kept and process.returncode == 3, errors.strip()


def reported(*words: str) -> dict[str, dict[str, object]]:
    """Run pyspawn and return what it told programs, by event."""
    reader, writer = os.pipe()
    command = ("pyspawn", "--json-status", str(writer), *words)
    subprocess.run(command, pass_fds=(writer,), stderr=subprocess.DEVNULL)
    os.close(writer)
    with open(reader) as lines:
        return {event["event"]: event for event in map(json.loads, lines)}


def namespaces() -> tuple[bool, str]:
    """All eight namespaces are new ones, and PID 1 in there is pyinit."""
    kinds = ("pid", "mnt", "uts", "ipc", "net", "user", "cgroup", "time")
    script = f"for n in {' '.join(kinds)}; do readlink /proc/self/ns/$n; done; cat /proc/1/comm"
    argv = ("pyspawn", "--unshare", "all", "--init", "--", "sh", "-c", script)
    lines = output(*argv).splitlines()
    ours = [os.readlink(f"/proc/self/ns/{kind}") for kind in kinds]
    new = sum(one != other for one, other in zip(lines, ours, strict=False))
    return new == len(kinds), f"{new} of {len(kinds)} new"


def terminal() -> tuple[bool, str]:
    """An interactive shell under pyspawn at a terminal of the machine has job control."""
    shell, master = pty.fork()
    if shell == 0:
        os.execvp("pyspawn", ("pyspawn", "--init", "--", "sh", "-i"))
    screen = Terminal(Pty(master))
    screen.type(" ".join([*APP, "job\n"]))
    screen.expect("job started$")
    screen.type(CTRL_Z)
    screen.expect("Stopped")
    screen.type("fg\n")
    screen.expect("job continued$")
    screen.type(CTRL_C)
    screen.type("echo sta''tus $?\n")
    interrupted = screen.expect(r"status (\d+)$")[1]
    screen.type("exit 7\n")
    screen.drain()
    status = os.waitstatus_to_exitcode(os.waitpid(shell, 0)[1])
    os.close(master)
    kept = interrupted == "130" and status == 7
    return kept, f"^Z, fg, ^C: {interrupted}; exit 7: {status}"


def main() -> None:
    """Hold every promise, then wait for Ctrl-Alt-Del, and switch off."""
    prepare()
    tell({"pid 1": Path("/proc/1/cmdline").read_bytes().replace(b"\0", b" ").decode()})
    checked("rights", rights)
    checked("storm", storm)
    checked("exec", executed)
    checked("health", functools.partial(health, "--init"))
    checked("forwarding", forwarding)
    checked("namespaces", namespaces)
    checked("pids", functools.partial(pids, "--init"))
    checked("memory", memory)
    checked("limits", limits)
    checked("delegated limits", delegated)
    checked("zombies told", crowded)
    checked("terminal", terminal)
    wait_for_the_keys()


def wait_for_the_keys() -> NoReturn:
    """Wait for the signal that Ctrl-Alt-Del sends to PID 1, and switch off."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    reboot_keys_to_pid_1()
    tell({"waits": "for Ctrl-Alt-Del"})
    number = signal.sigwaitinfo({signal.SIGINT, signal.SIGTERM}).si_signo
    report("stop", number == signal.SIGINT, f"told {signal.Signals(number).name}")
    switch_off()


# Other boots.


def image() -> None:
    """Hold a PID 1 that came to the machine in another way: it reaps, and it forwards."""
    prepare()
    checked("image", interpreted)
    wait_for_the_keys()


def interpreted() -> tuple[bool, str]:
    """PID 1 is Python, and orphans are reaped."""
    program = os.readlink("/proc/1/exe")
    line = app("storm", "20")
    kept = "/python3" in program and line == "zombies 0 of 20"
    return kept, line if "/python3" in program else f"PID 1 is {program}, {line}"


def hardened(uid: str, gid: str) -> None:
    """Become a PID 1 that owns nothing: another id, no capability, the root read-only."""
    prepare()
    reboot_keys_to_pid_1()
    if LIBC.mount(None, b"/", None, REMOUNT_READ_ONLY, None):
        raise OSError(ctypes.get_errno(), "remount / read-only")
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    for number in range(last + 1):
        LIBC.prctl(PR_CAPBSET_DROP, number, 0, 0, 0)
    LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    os.setgroups([])
    os.setresgid(int(gid), int(gid), int(gid))
    os.setresuid(int(uid), int(uid), int(uid))
    os.execvp("pyinit", ("pyinit", "-r", "INT:TERM", "--", *APP, "identity"))


def graceful() -> None:
    """A service below `sh -c`, which switches the machine off when it is told to stop."""

    def told(number: int, _frame: object) -> None:
        report("shell", True, f"told {signal.Signals(number).name}")
        switch_off()

    prepare()
    signal.signal(signal.SIGINT, told)
    reboot_keys_to_pid_1()
    tell({"waits": "for Ctrl-Alt-Del"})
    while True:
        signal.pause()


def bare() -> None:
    """PID 1 without an init: what is not reaped, and what is not received."""
    prepare()
    checked("storm", storm)
    checked("exec", executed)
    checked("health", health)
    checked("pids", pids)
    reboot_keys_to_pid_1()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    subprocess.run(("sh", "-c", "kill -TERM 1; kill -INT 1"))
    report("stop", False, "SIGTERM and SIGINT ignored")
    switch_off()


# Below a boot's workload.


def enter(pid: str, *argv: str) -> None:
    """Run a command in the namespaces of a process, and end as it does."""
    if LIBC.setns(os.pidfd_open(int(pid)), ALL_BUT_TIME):
        raise OSError(ctypes.get_errno(), "setns")
    sys.exit(subprocess.run(argv).returncode)


BOOTS: dict[str, Callable[..., None]] = {
    function.__name__: function for function in (main, graceful, bare, image, hardened)
}

if __name__ == "__main__":
    if sys.argv[1] == enter.__name__:
        enter(*sys.argv[2:])
    try:
        BOOTS[sys.argv[1]](*sys.argv[2:])
    except BaseException as error:  # noqa: BLE001  PID 1's end is a panic: say why first
        tell({"failed": f"{type(error).__name__}: {error}"})
        time.sleep(0.1)
        switch_off()
