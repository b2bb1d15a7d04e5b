"""Options of unshare(1), nsenter(1), bwrap(1) and podman(1) that `pyspawn` spells otherwise.

For whoever has them in their fingers; only after an option was refused.
"""

from spawner.spec import NAMESPACES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_NO_NEED = "leave it out"

_INSIDE = "mounts are made inside, where they stay: `sh -c 'mount ... && exec PROGRAM'`"

_BOTH = {
    "-F": f"pyspawn forks where it has to: {_NO_NEED}",
    "--no-fork": f"pyspawn forks where it has to: {_NO_NEED}",
    "-d": f"{_NO_NEED}, and put `&` at the end",
    "--detach": f"{_NO_NEED}, and put `&` at the end",
    "--interactive": f"PROGRAM has the terminal that pyspawn has: {_NO_NEED}",
    "--tty": f"PROGRAM has the terminal that pyspawn has: {_NO_NEED}",
    "--rm": f"nothing is left behind: {_NO_NEED}",
    "--wd": "it is --workdir DIR here",
    "--chdir": "it is --workdir DIR here",
    "--setenv": "it is --env NAME=VALUE here",
    "--uid": "it is --setuid UID here",
    "--gid": "it is --setgid GID here",
}

RUN: "Mapping[str, str]" = {
    **_BOTH,
    "-f": f"pyspawn forks where it has to: {_NO_NEED}",
    "--fork": f"pyspawn forks where it has to: {_NO_NEED}",
    "--kill-child": f"nothing outlives pyspawn: {_NO_NEED}",
    "-t": f"PROGRAM has the terminal that pyspawn has: {_NO_NEED}; `pyspawn exec PID` joins",
    "--target": "`pyspawn exec PID -- PROGRAM` joins a container that runs",
    "--unshare-all": "it is --unshare all here",
    **{f"--unshare-{kind}": f"it is --{kind} here" for kind in NAMESPACES},
    "--bind": _INSIDE,
    "--ro-bind": _INSIDE,
    "--tmpfs": _INSIDE,
    "--volume": _INSIDE,
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
