"""`--sandbox`: nothing of the host can be reached from inside, and useful programs run."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import sys
import venv
from pathlib import Path
from typing import Any

import pytest
from helpers.capabilities import require
from helpers.networks import CARRIERS
from helpers.programs import Word, python
from helpers.pyspawn import hint_in, pyspawn, refused, said, spawn
from helpers.running import Ended, run
from helpers.terminal import Shell, Terminal

import spawner
from spawner import aio
from spawner.rights import part

pytestmark = pytest.mark.usefixtures("pidns", "sandboxes")

HOME = "/home/sandbox"


@pytest.fixture
def sandboxes() -> None:
    """Skip where there's no user namespace, which root makes for other ids."""
    require("userns")
    if os.geteuid() == 0:
        require("root")


def sandbox(*words: Word, **how: Any) -> Ended:
    return spawn("--sandbox", *words, **how)


def inside(code: str, *options: Word, **how: Any) -> Any:
    """Return what a program prints as JSON."""
    ended = sandbox(*options, "--", *python(code), **how)
    assert (ended.status, ended.errors) == (0, ""), ended
    return json.loads(ended.out)


# What a hostile program tries

TRIES = r"""
import ctypes, errno, json, os, socket, stat, sys
found = {}

def tried(name, do, *arguments):
    try:
        found[name] = do(*arguments)
    except OSError as error:
        found[name] = errno.errorcode[error.errno]

def read(path):
    with open(path, "rb") as file:
        return file.read(100).decode("latin-1")

def write(path, flags=os.O_WRONLY):
    os.close(os.open(path, flags))
    return "written"

def connect(kind, address, port=0):
    with socket.socket(kind) as made:
        made.settimeout(60)
        made.connect((address, port) if kind == socket.AF_INET else address)
    return "connected"

given = json.loads(sys.argv[1])
tried("secret", read, given["secret"])
found["home"] = []
for name in given["home"]:
    tried(f"{name} in it", read, name)
    found["home"].append(found.pop(f"{name} in it"))
tried("shadow", read, "/etc/shadow")
tried("keys", os.listdir, "/etc/ssh")
tried("host", os.kill, given["pid"], 0)
pids = [name for name in os.listdir("/proc") if name.isdigit()]
found["pids"] = len(pids)
found["environments"] = "".join(read(f"/proc/{pid}/environ") for pid in pids)
found["names"] = [read(f"/proc/{pid}/comm").strip() for pid in pids]
for place in ("/", "/etc", "/usr", "/usr/bin", "/bin", "/home", sys.prefix, "/proc", "/dev/pts"):
    tried(f"make in {place}", write, f"{place}/made", os.O_WRONLY | os.O_CREAT)
    found.setdefault("made", []).append(found.pop(f"make in {place}"))
for name in ("kernel/core_pattern", "kernel/hostname", "vm/drop_caches", "net/ipv4/ip_forward"):
    tried(name, write, f"/proc/sys/{name}")
    found.setdefault("settings", []).append(found.pop(name))
tried("sysrq", write, "/proc/sysrq-trigger")
tried("exe", write, "/proc/self/exe")
tried("exe of 1", write, "/proc/1/exe")
tried("root of 1", os.listdir, "/proc/1/root/root")
with open("/proc/self/mountinfo") as file:
    rows = [line.split() for line in file]
found["writable"] = sorted(row[4] for row in rows if "rw" in row[5].split(","))
found["set-user-ID"] = [row[4] for row in rows if "nosuid" not in row[5].split(",")]
devices = {}
for top, _, names in os.walk("/dev"):
    for name in names:
        status = os.lstat(f"{top}/{name}")
        if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
            devices[f"{top}/{name}"] = (os.major(status.st_rdev), os.minor(status.st_rdev))
found["devices"] = devices
libc = ctypes.CDLL(None, use_errno=True)
def unshare(kind):
    if libc.unshare(kind):
        raise OSError(ctypes.get_errno(), "unshare")
tried("namespace", unshare, 0x10000000)
tried("mounts", unshare, 0x20000)
tried("mknod", os.mknod, "/tmp/disk", 0o60600, os.makedev(8, 0))
tried("metadata", connect, socket.AF_INET, "169.254.169.254", 80)
tried("loopback", connect, socket.AF_INET, "127.0.0.1", given["port"])
tried("abstract", connect, socket.AF_UNIX, "\0" + given["abstract"])
tried("terminal", write, "/dev/tty", os.O_RDWR)
found["session"] = os.getsid(0)
found["interfaces"] = [name for _, name in socket.if_nameindex()]
with open("/proc/self/status") as file:
    status = dict(line.rstrip("\n").split(":\t", 1) for line in file)
found["capabilities"] = {status[name] for name in status if name.startswith("Cap")} == {"0" * 16}
found["ids"] = sorted({*os.getresuid(), *os.getresgid()})
found["no new privileges"] = status["NoNewPrivs"]
found["descriptors"] = []
for number in range(3, 100):
    try:
        os.fstat(number)
        found["descriptors"].append(number)
    except OSError:
        pass
found["limits"] = read("/proc/self/limits") and {
    line[:26].strip(): line[26:].split()[1] for line in open("/proc/self/limits")}
found["memory"] = {place: os.statvfs(place).f_blocks * os.statvfs(place).f_frsize
                   for place in ("/", "/tmp", os.environ["HOME"], "/dev/shm", "/dev")}
found["variables"] = sorted({*os.environ} - {"LC_CTYPE"})
found["directory"] = os.getcwd()
found["name"] = socket.gethostname()
print(json.dumps(found))
"""


@pytest.fixture(params=[[], ["--init"]], ids=["alone", "init"])
def tries(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Return what came of each try."""
    secret = tmp_path / "secret"
    secret.write_text("for nobody else")
    held = os.open("/", os.O_RDONLY)
    abstract = f"sandbox-{os.getpid()}"
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as named,
    ):
        named.bind("\0" + abstract)
        named.listen()
        given = {
            "secret": str(secret),
            "home": [entry.path for entry in os.scandir(os.path.expanduser("~"))],
            "pid": os.getpid(),
            "port": server.getsockname()[1],
            "abstract": abstract,
        }
        try:
            ended = sandbox(
                *request.param,
                "--",
                *python(TRIES, json.dumps(given)),
                environment={**os.environ, "SECRET": "SECRET", "LANG": "C.UTF-8", "TERM": "dumb"},
                pass_fds=[held],
            )
        finally:
            os.close(held)
    assert (ended.status, ended.errors) == (0, ""), ended
    found: dict[str, Any] = json.loads(ended.out)
    return found


def test_a_hostile_program_reaches_nothing(tries: dict[str, Any]) -> None:
    """One program tries it all, since a start is what a try costs."""
    # Files of the caller's and of the system's that hold secrets
    assert {tries[name] for name in ("secret", "shadow", "keys")} == {"ENOENT"}
    assert {*tries["home"]} <= {"ENOENT", "EISDIR"}  # below some directory is the interpreter
    above = Path(os.path.realpath(sys.executable)).parts
    assert tries["root of 1"] in ("ENOENT", [*above[2:3]])  # the interpreter may be there
    # Other processes, their environments, and its own
    assert tries["host"] == "ESRCH"
    assert tries["pids"] <= 2
    assert "SECRET" not in tries["environments"]
    assert tries["variables"] == ["HOME", "LANG", "PATH", "TERM"]
    # Writing
    assert set(tries["made"]) <= {"EROFS", "EACCES", "ENOENT"}
    assert set(tries["settings"]) <= {"EACCES", "EROFS", "ENOENT"}
    assert tries["sysrq"] in ("EACCES", "ENOENT")
    assert {tries["exe"], tries["exe of 1"]} <= {"EROFS", "EACCES"}
    private = {"/tmp", HOME, "/proc", "/dev", "/dev/pts", "/dev/shm"}
    assert {*tries["writable"]} == private | {*tries["devices"]} - {"/dev/pts/ptmx"}
    assert tries["set-user-ID"] == []
    # Devices
    names = {"full": (1, 7), "null": (1, 3), "random": (1, 8), "tty": (5, 0), "urandom": (1, 9),
             "zero": (1, 5), "pts/ptmx": (5, 2)}  # fmt: skip
    assert tries["devices"] == {f"/dev/{name}": list(pair) for name, pair in names.items()}
    assert tries["mknod"] == "EPERM"
    # The network
    assert tries["metadata"] == "ENETUNREACH"
    assert (tries["loopback"], tries["abstract"]) == ("ECONNREFUSED", "ECONNREFUSED")
    assert tries["interfaces"] == ["lo"]
    # The terminal: one outside has no number in here
    assert tries["session"] > 0
    assert tries["terminal"] == "ENXIO"
    # Rights
    assert tries["capabilities"] is True
    assert tries["namespace"] == "EPERM"
    assert tries["mounts"] == "EPERM"
    assert tries["no new privileges"] == "1"
    assert 0 not in tries["ids"]
    # What it holds, and how much it can take
    assert tries["descriptors"] == []
    assert tries["limits"]["Max processes"] <= "1024"
    assert tries["limits"]["Max core file size"] == "0"
    assert sum(tries["memory"].values()) < 600 << 20
    assert (tries["directory"], tries["name"]) == (HOME, "sandbox")


def test_an_open_directory_leads_nowhere(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    held = os.open(tmp_path, os.O_RDONLY)
    try:
        place = f"/proc/self/fd/{held}"
        ended = sandbox("--workdir", place, "--", "ls", pass_fds=[held])
        message = f"pyspawn: change to the directory {place}: No such file or directory (ENOENT)"
        assert (ended.status, said(ended)) == (125, [message])
        for stream in ("0", "1", "2"):
            words = ["sh", "-c", f'exec "$@" {stream}<.', "sh", *pyspawn("--sandbox", "--", "pwd")]
            started = run(words, directory=str(tmp_path))
            assert (started.status, started.out) == (1, b"")
        message, _ = refused(sandbox("--pass-fds", "999", "--", "ls"))
        assert message == "descriptor 999 isn't open, and can't be passed on"
        named = sandbox("--pass-fds", str(held), "--", "ls", f"/dev/fd/{held}", pass_fds=[held])
        assert (named.status, named.errors) == (0, "")
    finally:
        os.close(held)


def test_the_processes_are_bounded_for_the_sandbox_alone() -> None:
    """However many processes its user has outside: two sandboxes have each as many as one."""
    code = """
import json, os, time
forked = 0
try:
    for _ in range(40):
        if os.fork() == 0:
            time.sleep(1000)
        forked += 1
except BlockingIOError:
    pass
print(json.dumps(forked))
"""
    limited = ["--rlimit", "nproc=20"]
    with contextlib.ExitStack() as undo:
        assert inside(code, *limited) == 19
        other = undo.enter_context(spawner.Process(["sh", "-c", code_of_sleep(10)], sandbox=True))
        undo.callback(other.kill)
        assert inside(code, *limited) == 19


def code_of_sleep(count: int) -> str:
    return "sleep 1000 & " * count + "wait"


def test_the_terminal_is_another_one(terminal: Terminal, shell: Shell) -> None:
    """And with the file of the caller's in reach, nothing can be typed there."""
    outer = os.ttyname(terminal.slave)
    code = """
import fcntl, json, os, sys, termios
try:
    fcntl.ioctl(os.open("/tmp/outer", os.O_RDWR | os.O_NOCTTY), termios.TIOCSTI, b"x")
    pushed = True
except OSError:
    pushed = False
print(json.dumps([pushed, [os.fstat(descriptor).st_dev for descriptor in (0, 1, 2)]]))
"""
    bound = ["--dev-bind", outer, "/tmp/outer"]
    job = shell.run(pyspawn("--sandbox", "--init", *bound, "--", *python(code)))
    pushed, devices = json.loads(terminal.screen.next())
    assert not pushed
    assert os.fstat(terminal.slave).st_dev not in devices  # it is one of the container's
    assert shell.wait(job)["status"] == 0


# Useful programs

USEFUL = r"""
import asyncio, json, multiprocessing, os, ssl, subprocess, sys, tempfile, threading

async def lines():
    made = await asyncio.create_subprocess_exec(
        "sh", "-c", "printf '%s\n' b a | sort | tr a-z A-Z", stdout=subprocess.PIPE)
    return (await made.communicate())[0].decode().split()

def main():
    found = {"lines": asyncio.run(lines()), "prefix": sys.prefix}
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found["squares"] = pool.map(abs, [-1, -2])
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"x")
    os.makedirs(os.path.expanduser("~/.cache/x"))
    found["certificates"] = sorted(os.listdir(ssl.get_default_verify_paths().capath or "/"))[:1]
    found["user"] = os.path.expanduser("~")
    print(json.dumps(found))

if __name__ == "__main__":
    main()
"""


def test_useful_programs_run(tmp_path: Path) -> None:
    script = tmp_path / "useful.py"
    script.write_text(USEFUL)
    tmp_path.chmod(0o755)
    words = ["--init", "--ro-bind", str(tmp_path), str(tmp_path), "--workdir", HOME]
    ended = sandbox(*words, "--", sys.executable, str(script))
    assert (ended.status, ended.errors) == (0, ""), ended
    found = json.loads(ended.out)
    assert (found["lines"], found["squares"]) == (["A", "B"], [1, 2])
    assert (found["prefix"], found["user"]) == (sys.prefix, HOME)


@pytest.mark.parametrize(
    "words",
    [
        ["git", "--version"],
        ["pip", "--version"],
        ["bash", "-c", "cat <<<x | wc -l"],
        ["awk", "BEGIN { print 1 }"],
    ],
)
def test_programs_of_the_path_run(words: list[str]) -> None:
    require(words[0])
    ended = sandbox("--", *words)
    assert (ended.status, ended.errors) == (0, ""), ended
    assert ended.out != b""


def test_a_program_of_ones_own_is_there_with_its_interpreter(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/secret").write_text("")
    (tmp_path / "bin/real").write_text('#!/usr/bin/env sh\necho "$0"; ls "${0%/*}"\n')
    (tmp_path / "bin/real").chmod(0o755)
    (tmp_path / "mine").symlink_to("bin/real")
    ended = sandbox("--", str(tmp_path / "mine"))
    assert (ended.errors, ended.out.split()[1:]) == ("", [b"bin", b"mine"])
    relative = sandbox("--", "./mine", directory=str(tmp_path))
    assert (relative.errors, relative.out) == ("", ended.out)
    search = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    found = sandbox("--", "real", environment=search)
    assert (found.errors, found.out.split()[1:]) == ("", [b"real"])


def test_an_interpreter_is_found_from_a_directory_below(tmp_path: Path) -> None:
    """`..` in its path leads through a directory that isn't in the sandbox."""
    environment = Path(sys.prefix)
    assert (environment / "pyvenv.cfg").exists()
    python = f"{'../' * (len(tmp_path.parts) - 1)}{str(environment)[1:]}/bin/python3"
    words = [python, "-m", "spawner", "--sandbox", "--init", "--"]
    code = "import sys; print(sys.prefix)"
    ended = run([*words, python, "-c", code], directory=str(tmp_path))
    assert (ended.status, ended.errors, ended.out) == (0, "", f"{environment}\n".encode())


def test_a_virtual_environment_in_a_project_that_is_bound(tmp_path: Path) -> None:
    """Its `lib64` is a link, which is there already."""
    tmp_path.chmod(0o755)
    venv.create(tmp_path / ".venv")
    assert (tmp_path / ".venv/lib64").readlink() == Path("lib")
    code = "import os, sys; print(sys.prefix, os.readlink('.venv/lib64'))"
    for binds in (["--bind", ".", "."], ["--ro-bind", ".", ".", "--overlay", "."]):
        words = [*binds, "--", "./.venv/bin/python3", "-c", code]
        ended = sandbox(*words, directory=str(tmp_path))
        assert ended.out == f"{tmp_path / '.venv'} lib\n".encode(), ended


def test_a_file_that_is_no_program_is_told_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "app"
    path.touch()
    ended = sandbox("--", "./app", directory=str(tmp_path))
    assert ended.status == 127
    hint = hint_in(ended.errors, f"{path}: No such file or directory (ENOENT)")
    assert hint.endswith(f"`chmod +x {path}`, and add --ro-bind {path} {path}")


def test_python_is_told_of_it_in_its_own_words(tmp_path: Path) -> None:
    path = tmp_path / "app"
    path.touch()
    with pytest.raises(spawner.ExecError) as failed:
        spawner.run([str(path)], sandbox=True)
    bind = f'mounts=Mounts([Bind("{path}", "{path}", read_only=True)])'
    assert str(failed.value.hint).endswith(f" and add {bind}")


# Widening


def test_root_of_the_host_can_change_none_of_its_settings() -> None:
    """Where root stays user 0 of the host, as asked for, and nobody else is."""
    require("root")
    code = """
import json, os
found = []
for name in ("sys/kernel/core_pattern", "sys/kernel/panic", "keys"):
    try:
        with open(f"/proc/{name}", "r+b", buffering=0) as file:
            found.append(os.fstat(file.fileno()).st_rdev == os.makedev(1, 3))
    except OSError as error:
        found.append(error.strerror)
print(json.dumps([os.getuid(), *found]))
"""
    *found, keys = inside(code, "--map-root-user")
    assert found == [0, *["Read-only file system"] * 2]
    assert keys in (True, "No such file or directory")  # masked, or not known to the kernel


def test_what_is_named_beside_it_widens_it(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("")
    tmp_path.chmod(0o777)
    show = "pwd; ls; touch new && echo made; echo $A; id -u; hostname"
    options = ["--bind", ".", ".", "--env", "A=b", "--hostname", "mine"]
    ended = sandbox(*options, "--", "sh", "-c", show, directory=str(tmp_path))
    user = os.geteuid() or 1000
    expected = [str(tmp_path.resolve()), "there", "made", "b", str(user), "mine"]
    assert (ended.errors, ended.out.decode().split()) == ("", expected)
    assert (tmp_path / "new").stat().st_uid == (os.geteuid() or 65534)


def test_a_network_that_is_shared_is_the_callers() -> None:
    code = "import json, socket; print(json.dumps([name for _, name in socket.if_nameindex()]))"
    names = [name for _, name in socket.if_nameindex()]
    assert inside(code, "--share", "net") == names
    assert inside(code, "--network", "host") == names


def test_with_the_callers_network_abstract_sockets_stay_out_of_reach() -> None:
    require("landlock")
    if not part.keeps_in():
        pytest.skip("this kernel's Landlock knows no scopes")
    with socket.socket(socket.AF_UNIX) as named:
        named.bind(f"\0sandbox-net-{os.getpid()}")
        named.listen()
        code = f"""
import json, socket
try:
    socket.socket(socket.AF_UNIX).connect("\\0sandbox-net-{os.getpid()}")
except PermissionError:
    print(json.dumps("denied"))
"""
        assert inside(code, "--share", "net") == "denied"


@pytest.mark.parametrize("network", CARRIERS)
def test_a_network_of_its_own_brings_a_name_server(network: str) -> None:
    require("root", network, "tun")
    code = """
import json, socket
with open("/etc/resolv.conf") as file:
    server = file.readline().split()
print(json.dumps([server, [name for _, name in socket.if_nameindex()]]))
"""
    server, names = inside(code, "--network", network)
    assert (server[0], names[:1], len(names)) == ("nameserver", ["lo"], 2)


def test_the_environment_may_be_kept() -> None:
    ended = sandbox("--keep-env", "--", "sh", "-c", "echo $A", environment={**os.environ, "A": "b"})
    assert (ended.errors, ended.out) == ("", b"b\n")


def test_a_root_of_ones_own(tmp_path: Path) -> None:
    """Then the system's directories stay out, but /tmp and the devices are private."""
    require("busybox")
    for name in ("bin", "dev", "proc", "tmp"):
        (tmp_path / name).mkdir()
    shutil.copy(shutil.which("busybox") or "", tmp_path / "bin/sh")
    words = ["--rootfs", str(tmp_path), "--", "/bin/sh", "-c", "echo /* ~; echo x >/tmp/x"]
    if os.geteuid() == 0:  # who is nobody there
        _, hint = refused(sandbox(*words))
        assert f"`chmod a+x {tmp_path}`" in hint
    tmp_path.chmod(0o755)
    ended = sandbox(*words)
    assert (ended.errors, ended.out) == ("", b"/bin /dev /proc /tmp /tmp\n")
    assert list((tmp_path / "tmp").iterdir()) == []


def test_the_dry_run_shows_all_of_it() -> None:
    ended = sandbox("--dry-run", "--", "true")
    for each in ("make a tmpfs of at most 4M the root directory", "bind /usr on /usr, read-only",
                 "make the new root read-only", "clear the environment", "set no_new_privs",
                 "drop every capability", "make a new net namespace",
                 "close all descriptors at the exec but 0, 1, 2"):  # fmt: skip
        assert each in ended.out.decode(), each


def test_what_can_t_be_had_is_refused() -> None:
    message, hint = refused(sandbox("--share", "all", "--", "true"))
    assert message == "--sandbox is made of namespaces, and --share all leaves none"
    assert "--share net" in hint
    message, _ = refused(sandbox("--tmpfs", "/a", "--rootfs", "/", "--tmpfs", "/", "--", "true"))
    assert "both make the root" in message or "hide what is mounted" in message


# Python


def test_the_api_takes_it() -> None:
    code = "import os; print(sorted({*os.environ} - {'LC_CTYPE'}), os.getcwd())"
    words = [sys.executable, "-c", code]
    ended = spawner.run(words, sandbox=True, capture_output=True, text=True)
    assert (ended.stdout.rpartition(" ")[2].strip(), ended.stderr) == (HOME, "")
    assert "HOME" in ended.stdout
    named = spawner.run(words, sandbox=True, env={"A": "b"}, capture_output=True, text=True)
    assert named.stdout.startswith("['A']")
    assert any("the root directory" in step.what for step in spawner.plan("true", sandbox=True))
    assert spawner.run("true", sandbox=False).returncode == 0
    with pytest.raises(TypeError, match="sandbox needs True or False, not 'x'"):
        spawner.run("true", sandbox="x")  # type: ignore[arg-type]


def test_the_api_passes_named_descriptors_alone() -> None:
    reader, writer = os.pipe()
    try:
        code = f"import os; os.write({writer}, b'x')"
        ended = spawner.run([sys.executable, "-c", code], sandbox=True, pass_fds=[writer])
        assert (ended.returncode, os.read(reader, 2)) == (0, b"x")
    finally:
        os.close(reader)
        os.close(writer)


def test_asyncio_takes_it(tmp_path: Path) -> None:
    async def main() -> int:
        return (await aio.run(["test", "!", "-e", str(tmp_path)], sandbox=True)).returncode

    assert asyncio.run(main()) == 0


def test_what_is_not_there_is_told_with_what_to_bind(tmp_path: Path) -> None:
    message, hint = refused(sandbox("--workdir", str(tmp_path), "--", "true"))
    assert message == f"change to the directory {tmp_path}: No such file or directory (ENOENT)"
    assert hint.endswith(f"add --ro-bind {tmp_path} {tmp_path}")


# An empty root alone


def test_a_tmpfs_becomes_the_root() -> None:
    tops = [f"/{name}" for name in ("usr", "bin", "lib", "lib64") if os.path.exists(f"/{name}")]
    binds = [word for top in tops for word in ("--ro-bind", top, top)]
    show = "echo /*; (echo x >/x) 2>&1 | grep -o 'Read-only file system'"
    ended = spawn("--tmpfs", "/:size=1M", *binds, "--read-only", "--", "/bin/sh", "-c", show)
    assert ended.errors == ""
    assert ended.out.decode().split() == [*sorted([*tops, "/proc"]), "Read-only", "file", "system"]
    open_ = spawn("--user", "--tmpfs", "/", *binds, "--", "/bin/sh", "-c", "echo x >/x; echo /x")
    assert (open_.errors, open_.out) == ("", b"/x\n")
