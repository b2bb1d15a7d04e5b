"""Each step says what it does, asks the kernel for exactly that, and tells a refusal in full."""

from __future__ import annotations

import errno
import pickle
import signal
from typing import Any

import pytest
from helpers.kernels import Recording

from pyinit.execvp import ExecError as ExecFailure
from spawner import steps
from spawner.errors import INIT, LAUNCHER, STAGE, ExecError, SetupError, SyscallError
from spawner.ids import credentials

MS_REC_PRIVATE = 0x44000
MS_NOSUID_NODEV_NOEXEC = 0xE

STEPS: list[tuple[steps.Step, str, str, str, list[tuple[Any, ...]]]] = [
    (steps.unshare("user", STAGE), STAGE, "make a new user namespace",
     "unshare(CLONE_NEWUSER)", [("unshare", 0x10000000)]),
    (steps.unshare("pid", LAUNCHER), LAUNCHER, "make a new pid namespace",
     "unshare(CLONE_NEWPID)", [("unshare", 0x20000000)]),
    (steps.unshare("mount", INIT), INIT, "make a new mount namespace",
     "unshare(CLONE_NEWNS)", [("unshare", 0x00020000)]),
    (steps.unshare("uts", INIT), INIT, "make a new uts namespace",
     "unshare(CLONE_NEWUTS)", [("unshare", 0x04000000)]),
    (steps.unshare("ipc", INIT), INIT, "make a new ipc namespace",
     "unshare(CLONE_NEWIPC)", [("unshare", 0x08000000)]),
    (steps.unshare("net", INIT, optional=True), INIT, "make a new net namespace, if possible",
     "unshare(CLONE_NEWNET)", [("unshare", 0x40000000)]),
    (steps.unshare("cgroup", INIT), INIT, "make a new cgroup namespace",
     "unshare(CLONE_NEWCGROUP)", [("unshare", 0x02000000)]),
    (steps.unshare("time", STAGE), STAGE, "make a new time namespace",
     "unshare(CLONE_NEWTIME)", [("unshare", 0x80)]),
    (steps.deny_setgroups(), LAUNCHER, "deny setgroups in the user namespace",
     'write("/proc/STAGE/setgroups", "deny")', [("write_file", "/proc/42/setgroups", b"deny")]),
    (steps.map_ids("uid", "0 1000 1"), LAUNCHER, "write the uid map 0 1000 1",
     'write("/proc/STAGE/uid_map", "0 1000 1")', [("write_file", "/proc/42/uid_map", b"0 1000 1")]),
    (steps.map_ids("gid", "0 100 1\n1 5000 9"), LAUNCHER, "write the gid map 0 100 1, 1 5000 9",
     'write("/proc/STAGE/gid_map", "0 100 1\\n1 5000 9")',
     [("write_file", "/proc/42/gid_map", b"0 100 1\n1 5000 9")]),
    (credentials.set_groups((5, 6)), INIT, "set the supplementary groups to 5, 6",
     "setgroups(2, [5, 6])", [("setgroups", (5, 6))]),
    (credentials.set_groups(()), INIT, "drop the supplementary groups", "setgroups(0, [])",
     [("setgroups", ())]),
    (credentials.set_group(6), INIT, "become group 6", "setresgid(6, 6, 6)", [("setgid", 6)]),
    (credentials.set_user(5), INIT, "become user 5", "setresuid(5, 5, 5)", [("setuid", 5)]),
    (steps.set_clock("boottime", -5, LAUNCHER), LAUNCHER, "shift the boottime clock by -5 s",
     'write("/proc/self/timens_offsets", "boottime -5 0")',
     [("write_file", "/proc/self/timens_offsets", b"boottime -5 0")]),
    (steps.make_group(), INIT, "make a process group", "setpgid(0, 0)", [("make_process_group",)]),
    (steps.leave_session_keyring(), INIT, "make a new session keyring",
     "keyctl(KEYCTL_JOIN_SESSION_KEYRING, NULL)", [("leave_session_keyring",)]),
    (steps.die_with_parent(), INIT, "die with the launcher", "prctl(PR_SET_PDEATHSIG, SIGKILL)",
     [("set_parent_death_signal", signal.SIGKILL)]),
    (steps.make_private(), INIT, "make every mount private",
     'mount(NULL, "/", NULL, MS_REC|MS_PRIVATE, NULL)',
     [("mount", None, "/", None, MS_REC_PRIVATE, None)]),
    (steps.mount_proc(), INIT, "mount proc on /proc",
     'mount("proc", "/proc", "proc", MS_NOSUID|MS_NODEV|MS_NOEXEC, NULL)',
     [("mount", "proc", "/proc", "proc", MS_NOSUID_NODEV_NOEXEC, None)]),
    (steps.set_hostname("box"), INIT, "set the host name to box", 'sethostname("box", 3)',
     [("sethostname", "box")]),
    (steps.bring_up_loopback(), INIT, "bring up the loopback interface",
     'ioctl(socket(AF_INET, SOCK_DGRAM), SIOCSIFFLAGS, {"lo", IFF_UP})', [("bring_up", "lo")]),
    (steps.change_directory("/a\nb"), INIT, "change to the directory /a\\nb", 'chdir("/a\\nb")',
     [("chdir", "/a\nb")]),
    (steps.clear_environment(), INIT, "clear the environment", "clearenv()",
     [("clear_environment",)]),
    (steps.set_variable("A", "{b}"), INIT, "set the variable A", 'setenv("A", "{b}", 1)',
     [("set_variable", "A", "{b}")]),
    (steps.take_foreground(7), INIT, "take the terminal's foreground", "tcsetpgrp(7, getpgrp())",
     [("take_foreground", 7)]),
    (steps.restore_signals({1, 2}, ()), INIT,
     "restore the caller's signal dispositions and mask",
     "sigaction(), sigprocmask(SIG_SETMASK)", [("set_signals", {1, 2}, ())]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("step", "where", "what", "how", "calls"), STEPS, ids=[s[2] for s in STEPS]
)
def test_step(
    step: steps.Step, where: str, what: str, how: str, calls: list[tuple[Any, ...]]
) -> None:
    kernel = Recording()
    assert (step.where, step.describe(), step.call()) == (where, what, how)
    step.run(kernel, "42")
    assert kernel.calls == calls


class Refusing(Recording):
    """Refuses everything."""

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_") or name == "calls":
            return super().__getattribute__(name)

        def refuse(*_arguments: object) -> None:
            raise SyscallError("call", errno.EPERM, "/somewhere")

        return refuse


@pytest.mark.parametrize("step", [s[0] for s in STEPS], ids=[s[2] for s in STEPS])
def test_refusal(step: steps.Step) -> None:
    if "foreground" in step.what:  # a terminal that refuses is no reason not to start
        step.run(Refusing())
        return
    with pytest.raises(SetupError) as caught:
        step.run(Refusing())
    error = caught.value
    assert (error.stage, error.step) == (step.where, step.describe())
    assert (error.syscall, error.errno, error.path) == ("call", errno.EPERM, "/somewhere")
    assert str(error) == f"{step.describe()}: Operation not permitted (EPERM)"
    assert error.status == 125
    again = pickle.loads(pickle.dumps(error))
    assert vars(again) == vars(error)


class NoExec(Recording):
    """Knows no program."""

    def __init__(self, number: int, path: bytes) -> None:
        super().__init__()
        self.error = ExecFailure(number, path)

    def exec(self, arguments: object, search_path: object) -> ExecFailure:
        self.calls.append(("exec", arguments, search_path))
        return self.error


def test_a_program_that_is_not_there() -> None:
    kernel = NoExec(errno.ENOENT, b"/bin/nosuch")
    step = steps.execute([b"nosuch", b"\xff"], b"/bin")
    assert step.describe() == "execute nosuch"
    assert step.call() == 'execvp("nosuch", "\\xff")'
    with pytest.raises(ExecError, match=r"^nosuch: not found in PATH$") as caught:
        step.run(kernel)
    assert kernel.calls == [("exec", [b"nosuch", b"\xff"], b"/bin")]
    error = caught.value
    assert (error.status, error.errno, error.syscall) == (127, errno.ENOENT, "execve")
    assert error.path == "nosuch"


def test_a_program_that_can_not_be_executed() -> None:
    with pytest.raises(ExecError, match=r"^/etc: is a directory: .*\(EACCES\)$") as caught:
        steps.execute([b"/etc"], None).run(NoExec(errno.EACCES, b"/etc"))
    assert (caught.value.status, caught.value.errno) == (126, errno.EACCES)


def test_an_init_that_is_not_there_is_a_failure_of_ours() -> None:
    kernel = NoExec(errno.ENOENT, b"/sbin/nosuch")
    with pytest.raises(SetupError) as caught:
        steps.execute_init([b"/sbin/nosuch", b"--", b"true"], None).run(kernel)
    assert not isinstance(caught.value, ExecError)
    assert str(caught.value) == "execute the init /sbin/nosuch: No such file or directory (ENOENT)"
    assert caught.value.status == 125


def test_what_is_left_out_without_a_namespace() -> None:
    needs = {entry[0].what: {*entry[0].needs} for entry in STEPS if entry[0].needs}
    assert needs == {
        "deny setgroups in the user namespace": {"user"},
        "write the uid map 0 1000 1": {"user"},
        "write the gid map 0 100 1, 1 5000 9": {"user"},
        "shift the boottime clock by -5 s": {"time"},
        "make every mount private": {"mount"},
        "mount proc on /proc": {"mount", "pid"},
        "set the host name to box": {"uts"},
        "bring up the loopback interface": {"net"},
    }


def test_a_step_shows_itself() -> None:
    shown = repr(steps.make_group())
    assert shown == "<Step init: make a process group: setpgid(0, 0)>"
