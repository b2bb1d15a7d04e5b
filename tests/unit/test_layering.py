"""The arrows of docs/architecture.md, read from the imports."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from helpers.programs import PLACE

PACKAGES = ("pyinit", "spawner")

SHARED_TABLES = {
    "pyinit",
    "pyinit.cmdline",
    "pyinit.coercion",
    "pyinit.execerror",
    "pyinit.execvp",
    "pyinit.jobcontrol",
    "pyinit.jsontext",
    "pyinit.outlet",
    "pyinit.signames",
}
"""What the spawner may know of pyinit: tables and tools, and nothing of its running.

Job control is such a tool: what is a job of the shell's, and who of it lives, is the same for both.
"""

CTYPES = {"ctypes", "_ctypes"}
CTYPES_AT_HOME = {"pyinit.subreaper"}

COMMAND_LINES = {"pyinit.__main__", "pyinit.cli", "spawner.__main__", "spawner.cli"}
"""The only rooms from which a process may be ended."""


class Import(NamedTuple):
    """One imported module, where, and whether only type checkers follow it, or only a call."""

    importer: str
    imported: str
    line: int
    typing_only: bool
    late: bool = False


def modules() -> dict[str, Path]:
    """Return our modules by dotted name."""
    found = {}
    for package in PACKAGES:
        for path in sorted(Path(PLACE, package).rglob("*.py")):
            parts = path.relative_to(PLACE).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(importer: str, tree: ast.Module) -> Iterator[Import]:
    """Yield what a module imports, at its top or anywhere below."""
    is_package = MODULES[importer].name == "__init__.py"
    package = importer if is_package else importer.rpartition(".")[0]

    def walk(node: ast.AST, typing_only: bool, late: bool) -> Iterator[Import]:
        late = late or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        if isinstance(node, ast.If) and _is_type_checking(node.test):
            for child in node.body:
                yield from walk(child, True, late)
            for child in node.orelse:
                yield from walk(child, typing_only, late)
            return
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(importer, alias.name, node.lineno, typing_only, late)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                yield Import(
                    importer, whole if whole in MODULES else base, node.lineno, typing_only, late
                )
        for child in ast.iter_child_nodes(node):
            yield from walk(child, typing_only, late)

    yield from walk(tree, False, False)


def _is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")
    return name == "TYPE_CHECKING"


TREES = {name: ast.parse(path.read_bytes()) for name, path in MODULES.items()}
ALL = [found for name, tree in TREES.items() for found in imports(name, tree)]
REAL = [found for found in ALL if not found.typing_only]


def test_both_packages_are_read() -> None:
    """A guard for the rest, which would hold for nothing at all."""
    rooms = {"pyinit.supervisor", "pyinit.machine", "spawner.launch", "spawner.planning"}
    assert rooms <= set(MODULES)
    assert Import("pyinit.cli", "pyinit.supervisor", 6, False)[:2] in {i[:2] for i in REAL}


def test_pyinit_knows_nothing_of_the_spawner() -> None:
    wrong = [i for i in ALL if i.importer.startswith("pyinit") and i.imported.startswith("spawner")]
    assert wrong == []


def test_the_spawner_knows_of_pyinit_only_the_tables() -> None:
    wrong = [
        i
        for i in ALL
        if i.importer.partition(".")[0] == "spawner"
        and i.imported.partition(".")[0] == "pyinit"
        and i.imported not in SHARED_TABLES
    ]
    assert wrong == []


def test_the_shared_tables_stand_alone() -> None:
    """Each imports no room of pyinit but other tables: so the spawner drags in nothing more."""
    wrong = [
        i
        for i in REAL
        if i.importer in SHARED_TABLES - {"pyinit"}
        and i.imported.startswith("pyinit.")
        and i.imported not in SHARED_TABLES
    ]
    assert wrong == []


def test_ctypes_has_its_rooms() -> None:
    wrong = [
        i
        for i in ALL
        if i.imported.partition(".")[0] in CTYPES
        and i.importer not in CTYPES_AT_HOME
        and not i.importer.startswith("spawner.linux")
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("room", "may_import"),
    [
        ("pyinit.machine", {"pyinit", "_signal"}),
        ("pyinit", {"_signal", "posix", "errno"}),
        ("pyinit.signames", {"_signal"}),
    ],
)
def test_pure_rooms_import_only_tables(room: str, may_import: set[str]) -> None:
    assert {i.imported for i in REAL if i.importer == room} <= may_import


def reached(arrows: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    """Return all that each module leads to."""
    leads: dict[str, set[str]] = {}
    for importer, imported in arrows:
        leads.setdefault(importer, set()).add(imported)

    def reachable(start: str) -> set[str]:
        found: set[str] = set()
        queue = [start]
        while queue:
            new = leads.get(queue.pop(), set()) - found
            found |= new
            queue += new
        return found

    return {name: reachable(name) for name in leads}


def circles(arrows: Iterable[tuple[str, str]]) -> list[set[str]]:
    """Return the sets of modules in which each leads to each other."""
    leads = reached(arrows)
    found = {
        frozenset(other for other in leads[name] if name in leads.get(other, ())) for name in leads
    }
    return sorted(map(set, found - {frozenset()}), key=sorted)


def named(importer: str, tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield what a module has imported by name: doors by the plan, all else by itself."""
    doors = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "door"
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value in MODULES and "." in node.value:
            yield ("spawner.planning" if node in doors else importer), node.value


ARROWS = {(i.importer, i.imported) for i in ALL if i.imported in MODULES}
ARROWS |= {arrow for name, tree in TREES.items() for arrow in named(name, tree)}
"""Who leads to whom: imports for types, too, and those that wait until a function is called."""


def test_modules_that_are_imported_by_name_are_seen() -> None:
    assert ("spawner.planning", "spawner.net.part") in ARROWS
    assert ("spawner.command.run", "spawner.net.network") in ARROWS
    assert ("spawner", "spawner.api.process") in ARROWS


def test_no_circle_of_imports() -> None:
    assert circles(ARROWS) == []


@pytest.mark.parametrize(
    ("arrow", "circle"),
    [
        (("spawner.errors", "spawner.launch"), {"spawner.errors", "spawner.launch"}),
        (("spawner.machine", "spawner.machine"), {"spawner.machine"}),
    ],
)
def test_a_circle_that_is_put_in_is_found(arrow: tuple[str, str], circle: set[str]) -> None:
    (found,) = circles({*ARROWS, arrow})
    assert circle <= found


def test_circles_are_told_apart() -> None:
    made_up = ["ab", "bc", "ca", "cd", "de", "ed", "ef", "gg"]
    assert circles((a, b) for a, b in made_up) == [{"a", "b", "c"}, {"d", "e"}, {"g"}]


WINGS = {"descriptors", "ids", "joining", "life", "limit", "mount", "net", "rights", "terminal"}
"""Folders of the spawner that are each a subject. They stand on `host`, as the launcher does."""

ABOVE = {"__main__", "aio", "api", "cli", "command", "launch", "planning", "pytest_plugin", "tell",
         "why"}  # fmt: skip
"""What knows of wings, and no wing of it: the fronts, what they tell, the launch and its plan."""


def room(module: str) -> str:
    """Return the folder of a module of the spawner, or its name if it stands in none."""
    return module.split(".")[1] if module.startswith("spawner.") else module


def test_every_folder_is_a_wing_or_what_stands_above_or_below() -> None:
    folders = {name.split(".")[1] for name in MODULES if name.startswith("spawner.")
               and name.count(".") == 2}  # fmt: skip
    assert folders <= WINGS | ABOVE | {"host"}


def test_no_wing_reaches_what_stands_above() -> None:
    wrong = [
        (name, other)
        for name, others in reached(ARROWS).items()
        if room(name) in WINGS | {"host"}
        for other in others
        if room(other) in ABOVE or other == "spawner"
    ]
    assert wrong == []


def test_what_a_plain_start_reads_opens_no_folder_when_it_is_read() -> None:
    """What lies in none is read by every start, but for two faces, whose names are public."""
    faces = {"spawner.aio", "spawner.pytest_plugin"}
    wrong = [
        i
        for i in REAL
        if not i.late
        and _lies_flat(i.importer)
        and i.importer not in faces
        and i.imported.startswith("spawner")
        and not _lies_flat(i.imported)
    ]
    assert wrong == []


def _lies_flat(module: str) -> bool:
    return module.startswith("spawner") and MODULES[module].parent.name == "spawner"


def test_no_wing_opens_another() -> None:
    """But a join takes who the program is to be, and the steps by which it becomes that."""
    found = {
        (room(name), other)
        for name, other in ARROWS
        if room(name) in WINGS | {"host"} and room(other) in WINGS - {room(name)}
    }
    assert found == {
        ("joining", "spawner.ids.credentials"),
        ("joining", "spawner.ids.identity"),
    }


VALUES = {"spawner.descriptors.passing", "spawner.ids.identity", "spawner.ids.idmap",
          "spawner.ids.names",
          "spawner.joining.target", "spawner.limit.limits", "spawner.limit.output",
          "spawner.mount.entry",
          "spawner.mount.mounts", "spawner.mount.files", "spawner.mount.tree",
          "spawner.net.network", "spawner.rights.landlock", "spawner.rights.rights"}  # fmt: skip
"""What can be wanted of a wing, and how it is spelt."""


def test_a_wing_with_a_door_is_known_from_outside_by_that_and_its_values() -> None:
    """But what pyspawn is started anew by, for a join, and how a look at a target is told."""
    doors = {name for name in MODULES if room(name) in WINGS and name.endswith(".part")}
    doors.add("spawner.limit.relay")  # what is written is another wish than what processes get
    rooms = {room(door) for door in doors}
    found = {
        (name, other)
        for name, other in ARROWS
        if room(name) not in WINGS and room(other) in rooms and other.count(".") == 2
    }
    assert {pair for pair in found if pair[1] not in doors | VALUES} == {
        ("spawner.cli", "spawner.joining.sealed"),
        ("spawner.command.ask", "spawner.joining.sealed"),
        ("spawner.tell.telling", "spawner.joining.hold"),
    }


def test_only_the_command_lines_end_a_process_or_print() -> None:
    """Libraries raise. (A forked child that became nothing ends by _exit, in its own room.)"""
    forks = {
        "pyinit.child",
        "spawner.api.isolate",
        "spawner.init",
        "spawner.joining.scout",
        "spawner.launch",
        "spawner.life.keeper",
        "spawner.limit.relay",
        "spawner.net.aside",
        "spawner.net.slirpapi",
        "spawner.net.veth",
        "spawner.rights.userns",
        "spawner.stage",
        "spawner.terminal.relay",
        "spawner.terminal.witness",
    }
    wrong = []
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            if called in ("print", "exit", "quit", "sys.exit") or (
                called in ("posix._exit", "os._exit") and name not in forks
            ):
                wrong.append((name, node.lineno, called))
    assert [entry for entry in wrong if entry[0] not in COMMAND_LINES] == []
