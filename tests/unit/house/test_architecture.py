"""The rooms: imports go one way, what decides is pure, and one room alone changes anything on the disk."""

import ast
import functools
import graphlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import looop_portable

PACKAGE = "looop_portable"
ROOT = Path(looop_portable.__file__).parent

ROOMS = [
    "typed",
    "errors",
    "protocol",
    "system",
    "system.opening",
    "system.mounts",
    "system.locks",
    "system.files",
    "system.threads",
    "system.processes",
    "system.watch",
    "system.signals",
    "config",
    "ledger",
    "backends",
    "sessions",
    "claims",
    "waiting",
    "holding",
    "",
    "aio",
    "testing",
    "running",
    "doctor",
    "cli",
    "__main__",
]
"""Low to high; "" is the package itself. A module imports from its own room, and from those below it."""
MOST_FLOORS, MOST_ROOMS, MOST_ENTRIES = 12, 20, 9
"""Of the rooms at the top: how long a way down by imports may be, and how many there may be; and what a folder may have."""
PURE = [
    "typed",
    "protocol",
    "running.child.programs",
    "errors",
    "doctor.findings",
    "doctor.advice",
    "doctor.notes",
    "doctor.hosts.tally",
    "cli.verbs.show.watching.state",
]
"""Modules, and a room."""
CHANGES = {
    *("open", "mkdir", "makedirs", "mkfifo", "mknod", "link", "symlink", "unlink", "remove", "rmdir", "removedirs"),
    *("rename", "renames", "replace", "chmod", "fchmod", "lchmod", "chown", "fchown", "lchown", "truncate", "ftruncate"),
    *("utime", "write", "writev", "pwrite", "fsync", "fdatasync", "setxattr", "removexattr", "sendfile", "fdopen"),
    *("dup2", "copy_file_range"),
}
MAKES_CHANGES = {"shutil", "tempfile", "pathlib", "fileinput", "sqlite3", "fcntl", "mmap", "dbm", "shelve"}


def modules() -> dict[str, Path]:
    """By name below the package; packages by their own name."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


FILES = ("system.files", "system.locks", "system.opening")
MEASURES = {"doctor.probes", "doctor.probes.locks"}
"""Excepted: a measurement by way of `files`, which looks again, waits and mends, would not be one of the filesystem. They
work on files of their own, in the doctor's own subdirectory."""
MODULES = modules()
PRODUCT = [module for module in MODULES if module.split(".")[0] != "testing"]


@functools.cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def imported(module: str) -> Iterator[str]:
    """The modules that `module` imports, of ours without the package's name; lazily, and by a name in a string, too."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            for alias in node.names:
                below = f"{node.module}.{alias.name}".removeprefix(f"{PACKAGE}.")
                yield (
                    f"{PACKAGE}.{below}"
                    if node.module and node.module.startswith(PACKAGE) and below in MODULES
                    else str(node.module)
                )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            target = re.fullmatch(rf"({PACKAGE}(\.\w+)+):\w+", node.value)
            if target:
                yield target[1]


@functools.cache
def imports_of_ours(module: str) -> frozenset[str]:
    return frozenset(
        name.removeprefix(PACKAGE).removeprefix(".") for name in imported(module) if name.split(".")[0] == PACKAGE
    )


def room_of(module: str) -> str:
    """The innermost of `ROOMS` that `module` is in."""
    while module not in ROOMS:
        module = module.rpartition(".")[0]
    return module


def is_in(module: str, rooms: Iterable[str]) -> bool:
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


def graph() -> dict[str, set[str]]:
    """Which modules each one imports. A package that is imported along with a module of its own is none of them."""
    return {module: {found for found in imports_of_ours(module) if found != module} for module in MODULES}


def floors(imports: dict[str, set[str]]) -> dict[str, int]:
    """How long the longest way down is. Raises `graphlib.CycleError`."""
    found: dict[str, int] = {}
    for each in graphlib.TopologicalSorter(imports).static_order():
        found[each] = 1 + max((found[below] for below in imports.get(each, ())), default=0)
    return found


def test_every_module_is_in_a_room() -> None:
    assert {module.split(".")[0] for module in MODULES} == {room.split(".")[0] for room in ROOMS}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_from_its_own_room_and_from_those_below_it(module: str) -> None:
    rank = ROOMS.index(room_of(module))
    assert not {found for found in imports_of_ours(module) if ROOMS.index(room_of(found)) > rank}


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert floors(graph())


def test_the_house_is_low_and_its_rooms_are_few() -> None:
    rooms: dict[str, set[str]] = {}
    for module, found in graph().items():
        top = module.split(".")[0]
        rooms.setdefault(top, set()).update({below.split(".")[0] for below in found} - {top})
    assert max(floors(rooms).values()) <= MOST_FLOORS
    assert len(rooms) <= MOST_ROOMS


def test_no_folder_has_more_than_can_be_seen_at_once() -> None:
    folders = {path.parent for path in MODULES.values()} - {ROOT}
    many = {
        str(folder.relative_to(ROOT)): len(entries)
        for folder in folders
        if len(entries := [each for each in folder.iterdir() if not each.name.startswith("__")]) > MOST_ENTRIES
    }
    assert not many


def test_the_check_of_imports_sees_the_lazy_and_the_named_ones() -> None:
    assert "backends" in imports_of_ours("claims.gate")
    assert {"backends.directory.policies", "backends.memory"} <= imports_of_ours("backends")
    assert "protocol.names" in imports_of_ours("claims.gate")


@pytest.mark.parametrize("module", [module for module in MODULES if module not in PRODUCT])
def test_what_ships_for_tests_imports_nothing_of_the_command_line(module: str) -> None:
    assert not {found for found in imports_of_ours(module) if found.split(".")[0] in ("cli", "__main__")}


@pytest.mark.parametrize("module", [module for module in MODULES if is_in(module, PURE)])
def test_what_decides_knows_no_system(module: str) -> None:
    allowed = {"__future__", "errno", "collections.abc", "enum", "typing", "json", "functools", "hashlib", "unicodedata"}
    allowed |= {"fnmatch", "itertools", "math", "ntpath", "re"}
    allowed |= {"_json", "json.encoder", "_collections", "operator", "collections"}  # Parts of what is pure.
    outside = {found for found in imported(module) if found.split(".")[0] != PACKAGE}
    assert outside <= allowed
    assert all(is_in(found, PURE) for found in imports_of_ours(module))


@pytest.mark.parametrize("module", PRODUCT)
def test_what_a_backend_may_be_asked_is_in_its_interface(module: str) -> None:
    """Else its author would have to find out by reading all that asks, which methods more it may have."""
    calls = (node for node in ast.walk(tree(module)) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name))
    probes = (ast.unparse(node) for node in calls if node.func.id in ("getattr", "hasattr"))  # type: ignore[attr-defined]
    assert not [
        probe for probe in probes if re.match(r"\w+\((self\.)?_?(\w+\.)*_?(backend|store|sessions|signs|tickets)\b", probe)
    ]


def changes(module: str) -> Iterator[str]:
    """Whatever `module` does that could change something on the disk."""
    for found in imported(module):
        if found.split(".")[0] in MAKES_CHANGES:
            yield f"import {found}"
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.ImportFrom) and node.module in ("os", "posix", "nt"):
            yield f"from {node.module} import ..."
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("os", "posix"):
            if node.attr in CHANGES:
                yield f"os.{node.attr}"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "open":
            mode = next((keyword.value for keyword in node.keywords if keyword.arg == "mode"), None)
            mode = mode or (node.args[1] if len(node.args) > 1 else ast.Constant("r"))
            if not isinstance(mode, ast.Constant) or set(str(mode.value)) - set("rbt"):
                yield "open for writing"


def test_only_one_module_changes_anything_on_the_disk() -> None:
    found = {module: sorted(changes(module)) for module in PRODUCT if not is_in(module, FILES)}
    allowed = {
        "running.child.posix": ["os.write"],  # Into pipes.
        "running.child.execution": ["os.write"] * 3,
        "cli.output": ["os.dup2", "os.open"],  # A closed stdout is replaced by the null device.
        "__main__": ["os.dup2", "os.open"],  # The same, at the end, whatever has kept the command from running.
        "system.mounts": ["os.open"],  # With O_PATH: see below.
        "system.watch.vnodes": ["os.open"],  # What it is told of: O_EVTONLY, or for reading.
    }
    assert {module: deeds for module, deeds in found.items() if deeds and module not in MEASURES} == allowed


def test_what_a_failed_call_on_a_file_says_is_composed_in_one_place() -> None:
    calls = ((module, node) for module in PRODUCT for node in ast.walk(tree(module)) if isinstance(node, ast.Call))
    composed = {
        module
        for module, node in calls
        if ast.unparse(node.func) == "Unavailable" and "describe_error(" in ast.unparse(node)
    }
    assert composed == {"errors"}, "use `errors.answering`, or `errors.unavailable`"


def test_what_measures_the_filesystem_uses_its_raw_calls() -> None:
    assert all(set(changes(module)) for module in MEASURES)


def test_a_mount_is_looked_up_by_a_descriptor_that_can_do_nothing() -> None:
    opened = [
        ast.unparse(node)
        for node in ast.walk(tree("system.mounts"))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "os.open"
    ]
    assert opened == ["os.open(here, _PATH)"]


def test_the_command_line_opens_nothing_but_the_null_device() -> None:
    opened = [
        ast.unparse(node.args[0])
        for node in ast.walk(tree("cli.output"))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "os.open"
    ]
    assert opened == ["os.devnull"]


def test_the_check_of_changes_sees_those_of_files() -> None:
    assert {
        "os.open",
        "os.link",
        "os.unlink",
        "os.replace",
        "os.rename",
        "os.mkdir",
        "os.rmdir",
        "os.chmod",
    } <= {*changes("system.files.posix"), *changes("system.files.directories"), *changes("system.opening.descriptors")}


@pytest.mark.parametrize("module", PRODUCT)
def test_a_file_that_outgrows_three_hundred_lines_is_asked_why(module: str) -> None:
    assert len(MODULES[module].read_text(encoding="utf-8").splitlines()) <= 300
