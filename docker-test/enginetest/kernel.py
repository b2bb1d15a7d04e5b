"""A whole kernel: Debian's, booted in qemu, with pyinit as the machine's first process.

All boots are from one initial root filesystem: the promises, a shell with `-g`, no init at all,
pyinit as it lies in each kind of image, a PID 1 without rights; and some whose workload just ends,
so that the status with which PID 1 ends is in the kernel's panic.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from enginetest.findings import Finding, Init
from enginetest.reading import LineReader, WaitError
from enginetest.running import succeed

GUEST = Path(__file__).parent.parent / "guest"

PATIENCE = 120.0
"""Seconds without a line after which a boot is given up: an emulated machine can be slow."""

WAYS = ("copied", "as-tini", "as-dumb-init", "multi-stage")
"""How else than by pip pyinit can have come to the machine: the images of the engines."""

PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"

PANIC = re.compile(r"Attempted to kill init! exitcode=0x([0-9a-f]+)")
OFF = "reboot: Power down"


@dataclass
class Boot:
    """What a machine said between its start and its end."""

    findings: dict[str, Finding] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    clean: bool = False
    """The kernel powered the machine off."""

    @property
    def panic_status(self) -> int | None:
        """The exit status of PID 1 in the kernel's last words, or None."""
        found = PANIC.search("\n".join(self.lines))
        return int(found[1], 16) >> 8 if found else None


class Machine:
    """The kernel and the root filesystem to boot."""

    name = "kernel"

    def __init__(self, state: Path, kernel: Path) -> None:
        self.state = state
        self.kernel = kernel
        self.initramfs = state / "initramfs"

    def set_up(self, *, archive: Path, context: Path) -> None:
        """Make the initial root filesystem: the base image's, with pidone put into it in each way.

        What is done here is what the files in images/ say.
        """
        root = self.state / "root"
        root.mkdir(parents=True)
        succeed("tar", "--extract", "--file", archive, "--directory", root)
        shutil.copytree(context / "wheels", root / "wheels")
        shutil.copytree(context / "pyinit", root / "opt" / "pyinit")
        shutil.copytree(GUEST, root / "app", ignore=shutil.ignore_patterns("__pycache__"))
        package = root / "app" / "enginetest"
        package.mkdir()
        for name in ("__init__.py", "reading.py", "terminal.py"):
            shutil.copy(GUEST.parent / "enginetest" / name, package)
        environment = {"PATH": PATH, "HOME": "/", "PIP_BREAK_SYSTEM_PACKAGES": "1"}
        install = ("install", "--no-index", "--find-links", "/wheels", "pidone")
        for words in (
            ("pip", *install, "--root-user-action", "ignore"),
            ("pyinit", "--install-as", "tini", "/usr/local/bin"),
            ("pyinit", "--install-as", "dumb-init", "/usr/local/bin"),
            ("python3", "-m", "venv", "/venv"),
            ("/venv/bin/pip", *install),
            ("python3", "-m", "compileall", "-q", "/opt/pyinit"),
        ):
            succeed("chroot", root, *words, env=environment)
        shutil.rmtree(root / "wheels")
        succeed(
            "sh",
            "-c",
            'cd "$0" && find . -print0 | cpio --null --create --format=newc --quiet >"$1"',
            root,
            self.initramfs,
        )

    def version(self) -> str:
        """Say which kernel, and how it is run."""
        name = self.kernel.name.removeprefix("vmlinuz-")
        return f"kernel {name}, in qemu's emulation, cgroup 2"

    def boot(self, name: str, init: str, words: Sequence[str]) -> Boot:
        """Boot with `init` as the first process, read the console, and return what it said.

        At the console's word that it waits for Ctrl-Alt-Del, or that the app is ready, these keys
        are pressed.
        """
        monitor = self.state / f"{name}.monitor"
        line = f"console=ttyS0 quiet panic=-1 rdinit={init} -- {' '.join(words)}"
        argv = [
            *("qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", "1024", "-nodefaults"),
            *("-no-reboot", "-display", "none", "-serial", "stdio"),
            *("-monitor", f"unix:{monitor},server,nowait"),
            *("-kernel", str(self.kernel), "-initrd", str(self.initramfs), "-append", line),
        ]
        boot = Boot()
        with _ended(
            subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        ) as process:
            assert process.stdout is not None
            console = LineReader(process.stdout.fileno(), f"boot {name}")
            try:
                self._listen(console, boot, monitor)
                boot.clean = process.wait() == 0 and OFF in "\n".join(boot.lines)
            except WaitError as error:
                boot.findings["failed"] = Finding(False, str(error)[:300])
        return boot

    def _listen(self, console: LineReader, boot: Boot, monitor: Path) -> None:
        """Read the console to its end; raises WaitError where it's silent for too long."""
        while (text := console.line(PATIENCE)) is not None:
            boot.lines.append(text)
            record = parse(text)
            if "promise" in record:
                found = Finding(bool(record["kept"]), str(record["detail"]))
                boot.findings[str(record["promise"])] = found
            elif "waits" in record or text == "ready":
                _press(monitor, "ctrl-alt-delete")
            elif "failed" in record:
                boot.findings["failed"] = Finding(False, str(record["failed"]))

    def findings(self) -> dict[str, dict[Init, Finding]]:
        """Boot as often as it takes and return what was found, promise by promise."""
        pyinit, python = "/usr/local/bin/pyinit", "/usr/bin/python3"
        workload = ("python3", "/app/machine.py")
        uid, gid = random.randrange(10000, 60000), random.randrange(10000, 60000)
        # No `--` before the program: the kernel takes a second one for the end of the line.
        asked: dict[str, tuple[str, tuple[str, ...]]] = {
            "main": (pyinit, (*workload, "main")),
            "bare": (python, ("/app/machine.py", "bare")),
            "shell": (pyinit, ("-g", "--wait", "sh", "/app/shell.sh")),
            "exit": (pyinit, ("sh", "/app/exit.sh")),
            "killed": (pyinit, ("sh", "/app/killed.sh")),
            "hardened": (python, ("/app/machine.py", "hardened", str(uid), str(gid))),
            "copied": (python, ("-IS", "/opt/pyinit/__main__.py", *workload, "image")),
            "as-tini": ("/usr/local/bin/tini", ("-g", *workload, "image")),
            "as-dumb-init": ("/usr/local/bin/dumb-init", (*workload, "image")),
            "multi-stage": ("/venv/bin/pyinit", (*workload, "image")),
        }
        with ThreadPoolExecutor(2) as pool:
            boots = dict(
                zip(
                    asked,
                    pool.map(lambda name: self.boot(name, *asked[name]), asked),
                    strict=True,
                )
            )
        return assemble(boots, f"uid {uid} gid {gid} rights 0 written EROFS")


def parse(line: str) -> dict[str, object]:
    """Return the record of a console line `@ {…}`, or {} where it is none."""
    start = line.find("@ {")
    if start < 0:
        return {}
    try:
        record = json.loads(line[start + 2 :])
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def assemble(boots: dict[str, Boot], identity: str) -> dict[str, dict[Init, Finding]]:
    """Put what the boots showed into the table's terms.

    `identity` is what the workload of the hardened machine has to say of itself.
    """
    main, bare, shell = boots["main"], boots["bare"], boots["shell"]
    found: dict[str, dict[Init, Finding]] = {}
    for key, finding in main.findings.items():
        found[key] = {Init.PYINIT: finding}
        if key in bare.findings:
            found[key][Init.NONE] = bare.findings[key]
    for key, boot in (("stop", main), ("shell", shell)):
        found.setdefault(key, {})[Init.PYINIT] = _switched_off(boot, key)
    for key in WAYS:
        found[key] = {Init.PYINIT: _switched_off(boots[key], "image", "stop")}
    found["hardened"] = {Init.PYINIT: _hardened(boots["hardened"], identity)}
    statuses = {name: boots[name].panic_status for name in ("exit", "killed")}
    found["status"] = {
        Init.PYINIT: Finding(
            statuses == {"exit": 42, "killed": 137},
            f"exit 42: {statuses['exit']}; kill -9: {statuses['killed']}, in the kernel's panic",
        )
    }
    return found


def _switched_off(boot: Boot, *keys: str) -> Finding:
    """Return what a boot found of the keys, which has to end with the machine switched off."""
    failed = boot.findings.get("failed")
    seen = [boot.findings.get(key) or failed or _last_words(boot) for key in keys]
    details = [one.detail for one in seen]
    details.append("powered off" if boot.clean else "not powered off")
    return Finding(all(one.kept for one in seen) and boot.clean, ", ".join(details))


def _hardened(boot: Boot, identity: str) -> Finding:
    """Return what a PID 1 without rights did for its workload."""
    if "ready" not in boot.lines:
        return boot.findings.get("failed") or _last_words(boot)
    said = boot.lines[: boot.lines.index("ready")][-2:]
    kept = said == [identity, "zombies 0 of 20"] and boot.panic_status == 128 + 15
    shown = said[-1:] if identity in said else said
    return Finding(kept, ", ".join([*shown, f"{boot.panic_status} in the kernel's panic"]))


def _last_words(boot: Boot) -> Finding:
    return Finding(False, f"it said nothing of it; its last words: {boot.lines[-3:]}")


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """End the process whatever happens."""
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _press(monitor: Path, keys: str) -> None:
    """Press keys on the machine's keyboard, through qemu's monitor."""
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(monitor))
        line.sendall(f"sendkey {keys}\n".encode())
        line.settimeout(5)
        seen = b""
        while seen.count(b"(qemu)") < 2:  # the prompt, and the one after the command
            more = line.recv(4096)
            if not more:
                return
            seen += more
