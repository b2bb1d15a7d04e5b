"""Options of unshare(1), nsenter(1), bwrap(1) and podman(1) that `pyspawn` spells otherwise.

For whoever has them in their fingers; only after an option was refused.
"""

from spawner.spec import NAMESPACES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_NO_NEED = "leave it out"

_INSIDE = "mounts are made inside, where they stay: `sh -c 'mount ... && exec PROGRAM'`"

_LIMITS = "limits are the shell's (ulimit), or those of the control group that pyspawn starts in"

_CAPABILITIES = "put `setpriv` in front of PROGRAM: it drops capabilities, setpriv(1)"

_PYINIT = {
    "group": "1",
    "all": "1",
    "rewrite": "FROM:TO",
    "parent-death": "SIGNAL",
    "warn-orphans": "1",
    "exit-code": "CODE",
    "wait": "1",
    "drain": "SECONDS",
    "kill-after": "SECONDS",
    "term-signal": "SIGNAL",
}
"""Options of pyinit's that make sense under `pyspawn --init`, and what their variables hold."""


def _variable(name: str, value: str) -> str:
    setting = f"PYINIT_{name.replace('-', '_').upper()}={value}"
    return f"that is for pyinit: `{setting} pyspawn --init -- PROGRAM`"


_MORE = {
    **dict.fromkeys(
        ("--env-file", "--env-host"), "put `env $(cat FILE)` in front of pyspawn, or --env for each"
    ),
    **dict.fromkeys(
        ("--label", "--restart", "--log-driver", "--cidfile", "--pull", "--platform"),
        f"there's no image and no daemon here: {_NO_NEED}",
    ),
    "--group-add": "it is --groups GROUP,... here",
    **dict.fromkeys(
        ("--security-opt", "--seccomp", "--add-seccomp-fd"),
        "seccomp filters are what pyspawn was started with: put what sets one in front of PROGRAM",
    ),
    "--no-new-privileges": "put `setpriv` in front of PROGRAM: it sets no_new_privs, setpriv(1)",
    **dict.fromkeys(("--symlink", "--dir", "--file", "--bind-try", "--mqueue"), _INSIDE),
    "--block-fd": "have PROGRAM wait itself: `sh -c 'read line <&FD; exec PROGRAM'`",
    "--sync-fd": "it is --json-status FD here, which says when PROGRAM runs and how it ended",
    "--forward-signals": f"every signal is forwarded: {_NO_NEED}",
    "--preserve-credentials": f"without --setuid and --setgid they stay: {_NO_NEED}",
    "--wdns": "it is --workdir DIR here, which is a place inside",
    "--follow-context": f"the security context is the program's own: {_NO_NEED}",
    "--join-cgroup": "control groups aren't joined: start pyspawn in the one that is meant",
}
"""What tools have that few ask for."""

_BOTH = {
    **_MORE,
    "-F": f"pyspawn forks where it has to: {_NO_NEED}",
    "--no-fork": f"pyspawn forks where it has to: {_NO_NEED}",
    "-d": f"{_NO_NEED}, and put `&` at the end",
    "--detach": f"{_NO_NEED}, and put `&` at the end",
    "--interactive": f"PROGRAM has the terminal that pyspawn has: {_NO_NEED}",
    "--tty": f"PROGRAM has the terminal that pyspawn has: {_NO_NEED}",
    "--rm": f"nothing is left behind: {_NO_NEED}",
    "--wd": "it is --workdir DIR here",
    "--chdir": "it is --workdir DIR here",
    "--cwd": "it is --workdir DIR here",
    "--pwd": "it is --workdir DIR here",
    "--setenv": "it is --env NAME=VALUE here",
    "--unsetenv": "put `env -u NAME` in front of PROGRAM",
    "--timeout": "put `timeout SECONDS` in front of pyspawn",
    "--uid": "it is --setuid UID here",
    "--gid": "it is --setgid GID here",
    "--cap-drop": _CAPABILITIES,
    "--keep-caps": f"root keeps its capabilities: {_NO_NEED}",
    "--new-session": "put `setsid` in front of PROGRAM",
    "--status-fd": "it is --json-status FD here",
    "--json-status-fd": "it is --json-status FD here",
    "--info-fd": "it is --json-status FD here",
    "--json": "it is --json-status FD here",
}

RUN: "Mapping[str, str]" = {
    **_BOTH,
    "--dns": "it is --network here, whose name server works inside, or a mount on /etc/resolv.conf",
    "--cgroupns": "it is --cgroup here, or --share cgroup for the machine's",
    "--map-subids": "it is --map-auto here",
    "-f": f"pyspawn forks where it has to: {_NO_NEED}",
    "--fork": f"pyspawn forks where it has to: {_NO_NEED}",
    "--kill-child": f"nothing outlives pyspawn: {_NO_NEED}",
    "-t": f"PROGRAM has the terminal that pyspawn has: {_NO_NEED}; `pyspawn exec PID` joins",
    "--target": "`pyspawn exec PID -- PROGRAM` joins a container that runs",
    **{f"--{name}": _variable(name, value) for name, value in _PYINIT.items()},
    "--unshare-all": "it is --unshare all here",
    **{f"--unshare-{kind}": f"it is --{kind} here" for kind in NAMESPACES},
    **{f"--unshare-{kind}-try": f"it is --unshare-try {kind} here" for kind in ("user", "cgroup")},
    **dict.fromkeys(
        ("--bind", "--ro-bind", "--dev-bind", "--dev", "--tmpfs", "--volume", "--read-only"),
        _INSIDE,
    ),
    "--proc": "/proc is mounted unasked; --mount-proc=DIR puts it elsewhere",
    "--as-pid-1": f"PROGRAM is PID 1 unless there's --init: {_NO_NEED}",
    "--userns": "it is --user here, and --map-current-user for podman's keep-id",
    "--entrypoint": f"PROGRAM is the entry point: {_NO_NEED}",
    "--name": "containers have no names, and --hostname NAME is the host name inside",
    "--privileged": f"root keeps its rights: {_NO_NEED}",
    "--cap-add": f"root keeps its capabilities: {_NO_NEED}",
    **dict.fromkeys(("--memory", "--cpus", "--pids-limit", "--ulimit"), _LIMITS),
    "--share-net": "it is --share net here, or nothing: the network is shared unless you say --net",
    "-R": "PROGRAM has your root: put `chroot DIR` in front of it",
    "--root": "PROGRAM has your root: put `chroot DIR` in front of it",
    "-e": "it is --env NAME=VALUE here",
}
"""What to say of an option that `pyspawn run` doesn't know, by its spelling."""

EXEC: "Mapping[str, str]" = {
    **_BOTH,
    "-t": "the target is named without an option: pyspawn exec PID -- PROGRAM [ARG...]",
    "--target": "the target is named without an option: pyspawn exec PID -- PROGRAM [ARG...]",
    "-a": f"every namespace of the target is joined, unless some are named: {_NO_NEED}",
    "--all": f"every namespace of the target is joined, unless some are named: {_NO_NEED}",
    "-r": f"the root of a process is joined with its mounts: {_NO_NEED}",
    "--root": f"the root of a process is joined with its mounts: {_NO_NEED}",
    "-e": "it is --env NAME=VALUE here, and --target-env for all of the target's",
}
"""The same for `pyspawn exec`."""

TAKEN: "Mapping[str, str]" = {
    "-u": "it is --uts here, without a value; who PROGRAM is: --setuid UID",
    "--user": "it is the user namespace here, without a value; who PROGRAM is: --setuid UID",
    "-p": "it is --pid here, without a value; ports: --network pasta --publish PORT",
    "-v": f"it is --verbose here, without a value; {_INSIDE}",
    "--mount": f"it is the mount namespace here; {_INSIDE}",
    "-m": f"it is --mount here, without a value; {_LIMITS}",
}
"""What to say of an option that means something else here, and has no value in the next word."""
