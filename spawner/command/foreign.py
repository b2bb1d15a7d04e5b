"""Hints for options that pyspawn lacks and similar tools have.

These are unshare(1), nsenter(1), bwrap(1), podman(1), firejail(1), nsjail(1) and systemd-run(1).

For whoever has them in their fingers; only after an option was refused.
"""

from spawner.spec import NAMESPACES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_NO_NEED = "leave it out"

_INSIDE = "change it in the container: `sh -c 'chmod MODE FILE && exec PROGRAM'`"

_NO_PRIVATE = "use --sandbox for a home that is empty, or --tmpfs DST to cover a directory"

_NO_UNIT = f"pyspawn makes no unit: {_NO_NEED}"

_BIND = "--bind SRC DST, or --ro-bind SRC DST to have it read-only"

OVERLAY = (
    "--overlay DST keeps what is changed in DST in memory, --overlay-upper DIR DST in a directory; "
    "to show another directory there, bind it first: --ro-bind SRC DST --overlay DST"
)
"""The hint for bwrap's overlays: `--overlay-src SRC --overlay RWSRC WORKDIR DEST`."""

_CAPABILITIES = "use --cap-drop CAP,... and --cap-add CAP,..., which change all sets"

_TERMINAL = "use --new-session for a terminal of its own; without it PROGRAM has pyspawn's"

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
"""pyinit's options that are useful under `pyspawn --init`, and the values of their variables."""


def _variable(name: str, value: str) -> str:
    setting = f"PYINIT_{name.replace('-', '_').upper()}={value}"
    return f"that is an option of pyinit: use `{setting} pyspawn --init -- PROGRAM`"


_MORE = {
    **dict.fromkeys(
        ("--env-file", "--env-host"),
        "put `env $(cat FILE)` in front of pyspawn, or use --env for each variable",
    ),
    **dict.fromkeys(
        ("--label", "--restart", "--log-driver", "--cidfile", "--pull", "--platform"),
        f"pyspawn has no images and no daemon: {_NO_NEED}",
    ),
    "--group-add": "use --groups GROUP,...",
    **dict.fromkeys(("--chmod", "--perms"), f"directories are 755, files 644: {_INSIDE}"),
    "--block-fd": "have PROGRAM wait itself: `sh -c 'read line <&FD; exec PROGRAM'`",
    "--sync-fd": "use --json-status FD, which tells when PROGRAM has started and how it ended",
    "--forward-signals": f"every signal is forwarded: {_NO_NEED}",
    "--preserve-credentials": f"ids stay as they are without --setuid and --setgid: {_NO_NEED}",
    "--wdns": "use --workdir DIR, with a directory in the container",
    "--follow-context": f"PROGRAM has a security context of its own: {_NO_NEED}",
    "--join-cgroup": "control groups aren't joined: start pyspawn in the control group for PROGRAM",
}
"""Hints for less common options of other tools."""

_BOTH = {
    **_MORE,
    "-F": f"pyspawn forks where it has to: {_NO_NEED}",
    "--no-fork": f"pyspawn forks where it has to: {_NO_NEED}",
    "-d": f"{_NO_NEED}, and put `&` at the end",
    "--detach": f"{_NO_NEED}, and put `&` at the end",
    "--interactive": f"PROGRAM inherits pyspawn's standard input: {_NO_NEED}",
    "--tty": _TERMINAL,
    "--rm": f"nothing is left behind: {_NO_NEED}",
    "--wd": "use --workdir DIR",
    "--chdir": "use --workdir DIR",
    "--cwd": "use --workdir DIR",
    "--pwd": "use --workdir DIR",
    "--setenv": "use --env NAME=VALUE",
    "--unsetenv": "put `env -u NAME` in front of PROGRAM",
    **dict.fromkeys(("--timeout", "--time_limit"), "use --time-limit SECONDS"),
    "--uid": "use --setuid UID",
    "--gid": "use --setgid GID",
    "--status-fd": "use --json-status FD",
    "--json-status-fd": "use --json-status FD",
    "--info-fd": "use --json-status FD",
    "--json": "use --json-status FD",
}

RUN: "Mapping[str, str]" = {
    **_BOTH,
    "--no-new-privileges": "use --no-new-privs",
    "--security-opt": "use --no-new-privs, or --seccomp default, or FILE with compiled BPF, or "
    "unconfined",
    "--add-seccomp-fd": "use --seccomp FD, which sets one filter",
    **dict.fromkeys(("--landlock-access", "--landlock-rule"), "use --landlock KIND=VALUE"),
    "--dns": "use --network, which brings a name server, or mount a file on /etc/resolv.conf",
    "--cgroupns": "use --cgroup, or --share cgroup for the host's",
    "--map-subids": "use --map-auto",
    "-f": f"pyspawn forks where it has to: {_NO_NEED}",
    "--fork": f"pyspawn forks where it has to: {_NO_NEED}",
    "--kill-child": f"nothing outlives pyspawn: {_NO_NEED}",
    "-t": f"{_TERMINAL}; `pyspawn exec PID` joins a container",
    "--target": "`pyspawn exec PID -- PROGRAM` joins a container that runs",
    **{f"--{name}": _variable(name, value) for name, value in _PYINIT.items()},
    "--unshare-all": "use --unshare all",
    **{f"--unshare-{kind}": f"use --{kind}" for kind in NAMESPACES},
    **{f"--unshare-{kind}-try": f"use --unshare-try {kind}" for kind in ("user", "cgroup")},
    "--volume": f"use {_BIND}",
    "--size": "use --tmpfs DST:size=SIZE",
    **dict.fromkeys(("--bind-fd", "--ro-bind-fd"), f"name the path of what is bound: {_BIND}"),
    **dict.fromkeys(("--overlay-src", "--tmp-overlay"), OVERLAY),
    "--ro-overlay": "one directory is shown by --ro-bind SRC DST; layers of several aren't made",
    "--remount-ro": "use --readonly PATH, which comes after what is mounted there",
    "--bind-data": "use --ro-bind-data FD DST, or --file FD DST in what --tmpfs has mounted",
    "--bind-mount": f"use {_BIND}",
    "--tmpfs-size": "use --tmpfs DST:size=SIZE",
    "--masked-paths": "use --mask PATH, once for each",
    "--readonly-paths": "use --readonly PATH, once for each",
    "--as-pid-1": f"PROGRAM is PID 1 unless there's --init: {_NO_NEED}",
    "--device": "use --dev-bind SRC DST, and --dev DST for null, zero, random, tty and their like",
    "--gpus": "use --dev-bind SRC DST for the files of the device, and --ro-bind for libraries",
    "--shm-size": "--dev DST brings 64M of shared memory; for more, --tmpfs /dev/shm:size=SIZE",
    "--args": "put the options on the command line: `xargs -0 pyspawn <FILE`, or a script",
    "--argv0": "have a shell do it: `bash -c 'exec -a NAME PROGRAM'`",
    "--lock-file": "put `flock FILE` in front of pyspawn",
    "--sysctl": "--readonly /proc/sys keeps it as it is: have root set it before pyspawn starts",
    "--add-host": "mount a file there: --ro-bind-data FD /etc/hosts",
    "--expose": "use --network pasta --publish PORT",
    **dict.fromkeys(("--port", "--publish-all"), "use --network pasta --publish PORT"),
    **dict.fromkeys(("--memory-reservation", "--memory-high"), "use --memory BYTES"),
    **dict.fromkeys(
        ("--cgroup_mem_max", "--rlimit-as", "--rlimit_as"),
        "use --memory BYTES, or --rlimit as=BYTES for each process",
    ),
    "--cgroup_pids_max": "use --pids-limit N",
    **dict.fromkeys(("--max_cpus", "--cgroup_cpu_ms_per_sec"), "use --cpus N, as in 1.5"),
    **{
        option: f"use --rlimit {name}=VALUE"
        for name in ("nofile", "nproc", "fsize", "cpu", "core", "stack", "sigpending")
        for option in (f"--rlimit-{name}", f"--rlimit_{name}")
    },
    "--private": _NO_PRIVATE,
    "--private-tmp": "use --tmpfs /tmp",
    "--private-dev": "use --dev /dev",
    "--private-home": _NO_PRIVATE,
    **dict.fromkeys(("--blacklist", "--disable-mnt"), "use --mask PATH, once for each"),
    **dict.fromkeys(
        ("--whitelist", "--noblacklist"), "use --sandbox, and --bind SRC DST for what it is to see"
    ),
    **dict.fromkeys(("--noprofile", "--profile"), f"there are no profiles: {_NO_NEED}"),
    "--noroot": "use --map-current-user",
    "--nonewprivs": "use --no-new-privs",
    "--caps.drop": "use --cap-drop CAP,...",
    "--caps.keep": "use --cap-drop all --cap-add CAP,...",
    **dict.fromkeys(
        ("--property", "--slice", "--scope", "--unit", "--collect"),
        f"{_NO_UNIT}; limits are --memory BYTES, --pids-limit N and --cpus N",
    ),
    **dict.fromkeys(("--pty", "--pipe", "--same-dir"), f"that's so without an option: {_NO_NEED}"),
    "--working-directory": "use --workdir DIR",
    "--chroot": "use --rootfs DIR",
    "--bindmount": f"use {_BIND}",
    "--bindmount_ro": "use --ro-bind SRC DST",
    "--tmpfsmount": "use --tmpfs DST",
    "--keep_caps": "use --cap-add all",
    "--disable_clone_newnet": "use --share net",
    **dict.fromkeys(("--image", "--directory"), "use --rootfs DIR, with an unpacked image"),
    "--userns": "use --user, or --map-current-user for podman's keep-id",
    "--entrypoint": f"PROGRAM is the entry point: {_NO_NEED}",
    "--name": "containers have no names; --hostname NAME sets the container's host name",
    "--privileged": f"root keeps its rights: {_NO_NEED}",
    "--keep-caps": "use --cap-add all",
    **dict.fromkeys(("--bounding-set", "--inh-caps", "--ambient-caps"), _CAPABILITIES),
    **dict.fromkeys(("--cpu-quota", "--cpu-period"), "use --cpus N, as in 1.5"),
    "--cpu-shares": "use --cpu-weight N, where 100 is what 1024 shares are",
    "--cpuset-cpus": "use --cpuset LIST",
    "--blkio-weight": "use --io-weight N",
    "--ulimit": "use --rlimit NAME=SOFT[:HARD]",
    "--share-net": "use --share net, or nothing at all: the network is shared unless you say --net",
    "-R": "use --rootfs DIR",
    "--root": "use --rootfs DIR",
    "-e": "use --env NAME=VALUE",
}
"""Hints for options that `pyspawn run` doesn't know, by their spelling."""

EXEC: "Mapping[str, str]" = {
    **_BOTH,
    "--keep-caps": f"root keeps its capabilities: {_NO_NEED}",
    **dict.fromkeys(
        ("--security-opt", "--add-seccomp-fd"),
        "put a program that sets a seccomp filter in front of PROGRAM",
    ),
    "-t": "the target is named without an option: pyspawn exec PID -- PROGRAM [ARG...]",
    "--target": "the target is named without an option: pyspawn exec PID -- PROGRAM [ARG...]",
    "-a": f"every namespace of the target is joined, unless some are named: {_NO_NEED}",
    "--all": f"every namespace of the target is joined, unless some are named: {_NO_NEED}",
    "-r": f"the root directory of a process is joined with its mounts: {_NO_NEED}",
    "--root": f"the root directory of a process is joined with its mounts: {_NO_NEED}",
    "-e": "use --env NAME=VALUE, or --target-env for all variables of the target",
}
"""Hints for options that `pyspawn exec` doesn't know, by their spelling."""

TAKEN: "Mapping[str, str]" = {
    "-u": "-u is --uts here and accepts no value; the user of PROGRAM is --setuid UID",
    "--user": "--user is the user namespace here; the user of PROGRAM is --setuid UID",
    "-p": "-p is --pid here and accepts no value; ports are --network pasta --publish PORT, "
    "limits --memory BYTES and their like",
    "-v": f"-v is --verbose here and accepts no value; volumes are {_BIND}",
    "--mount": f"--mount is the mount namespace here; mounts are {_BIND}, and --tmpfs DST",
    "-m": "-m is --mount here and accepts no value; memory is --memory BYTES",
}
"""Hints for options that mean something else in pyspawn, where a value follows as the next word."""


def attached(message: str) -> str | None:
    """Return the hint of TAKEN for a value that follows a letter at once: `-m512m`.

    `message` says which word it was, as that of an unknown letter does.
    """
    _, found, word = message.rpartition(" in -")
    is_value = found and not word[1:2].isalpha()  # else a letter was mistyped
    return TAKEN.get(f"-{word[:1]}") if is_value else None
