"""The pages of docs/reference say what the code says: verbs, standings, exit codes, variables."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest

from looop_portable import errors
from looop_portable.backends import OF_ENGINES, SHIPPED
from looop_portable.backends.directory import policies
from looop_portable.cli.root import looop
from looop_portable.ledger.stamp import Format, Policy
from looop_portable.protocol.liveness import Basis
from looop_portable.protocol.standings import TABLE

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "looop_portable"
REFERENCE = ROOT / "docs" / "reference"


def page(name: str) -> str:
    return (REFERENCE / f"{name}.md").read_text(encoding="utf-8")


def rows_of(text: str, columns: int) -> list[list[str]]:
    """The rows of all tables that have so many columns, without their heads."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    rows = [[cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [row for row in rows if len(row) == columns]


def words_in(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def verbs(group: click.Group = looop, before: str = "") -> Iterator[str]:
    """All of them, those of groups too."""
    context = click.Context(group)
    for name in group.list_commands(context):
        verb = group.get_command(context, name)
        if isinstance(verb, click.Group):
            yield from verbs(verb, f"{before}{name} ")
        else:
            yield f"{before}{name}"


def test_each_page_is_in_the_index() -> None:
    assert {path.name for path in REFERENCE.glob("*.md")} - {"index.md"} == set(re.findall(r"\]\((\S+)\)", page("index")))


SUMMARY = page("command-line").partition("\n\nThe rules")[0]
USAGES = [usage for cell, _ in rows_of(SUMMARY, 2) for usage in words_in(cell)]


@pytest.mark.parametrize("usage", USAGES)
def test_each_verb_of_the_summary_has_help(usage: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "looop_portable", *verb_of(usage).split(), "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert set(re.findall(r"--\w[\w-]*", usage)) <= set(re.findall(r"--\w[\w-]*", done.stdout))


def verb_of(usage: str) -> str:
    return re.split(r" (?=[A-Z\[-])", usage)[0]


def test_the_summary_has_every_verb() -> None:
    assert {verb_of(usage) for usage in USAGES} == set(verbs())


def test_the_table_of_standings_is_the_code_s() -> None:
    rows = re.findall(r"^\| ([A-Z]+): (.*?) \| (.*?) \| (.*?) \| (.*?) \|$", page("standings"), flags=re.MULTILINE)
    assert rows == [(standing.name, standing.value, *each) for standing, each in TABLE.items()]


def test_each_basis_of_a_verdict_is_told() -> None:
    told = [word for cell, *_ in rows_of(page("standings"), 3) for word in words_in(cell) if word != "basis"]
    assert sorted(told) == sorted(basis.name.lower() for basis in Basis)


def test_each_verb_has_its_exit_codes() -> None:
    told = page("exit-codes").partition("## By verb")[2].partition("\n## ")[0]
    assert {word for cell, *_ in rows_of(told, 4) for word in words_in(cell)[:1]} - {"verb"} == set(verbs())


def test_the_exit_codes_are_the_code_s() -> None:
    """Every number that a verb may return, and each that a module calls so."""
    table = page("exit-codes").partition("## By verb")[0]
    told = {int(cell) for cell, _ in rows_of(table, 2) if cell.isdigit()}
    in_code = {
        number
        for path in [PACKAGE / "__main__.py", PACKAGE / "running" / "command.py", *(PACKAGE / "cli").rglob("*.py")]
        if path.parent.name not in ("words", "output", "watching", "completion")
        for number in codes_in(ast.parse(path.read_text(encoding="utf-8")))
    }
    of_commands = {
        number
        for name in ("execution", "windows")
        for number in codes_in(ast.parse((PACKAGE / "running" / "child" / f"{name}.py").read_text(encoding="utf-8")))
        if number > 100
    }
    assert told == in_code | of_commands


def codes_in(program: ast.Module) -> set[int]:
    """What its functions that answer an int return as a number, and its constants that are codes."""
    named = re.compile("OURS|HELD|USAGE|_?NO_ANSWER|_?INTERRUPTED|TIMED_OUT|NOT_FOUND|EXPIRED|_CODES")
    found: list[ast.AST] = []
    for node in ast.walk(program):
        if isinstance(node, ast.FunctionDef) and node.returns and ast.unparse(node.returns) in ("int", "tuple[int, str]"):
            found += [each.value for each in ast.walk(node) if isinstance(each, ast.Return) and each.value]
        if isinstance(node, ast.Assign) and named.search(ast.unparse(node.targets[0])):
            found.append(node.value)
    numbers = [each.value for value in found for each in results(value) if isinstance(each, ast.Constant)]
    return {number for number in numbers if type(number) is int}


def results(value: ast.AST) -> Iterator[ast.AST]:
    """The values that an expression may have, as far as they stand there."""
    if isinstance(value, ast.IfExp):
        yield from (*results(value.body), *results(value.orelse))
    elif isinstance(value, ast.Tuple):
        yield from (each for element in value.elts for each in results(element))
    elif isinstance(value, ast.Dict):
        yield from (each for element in value.values for each in results(element))
    else:
        yield value


def test_each_code_of_an_error_is_told() -> None:
    told = {words_in(row[0])[0]: words_in(row[2]) for row in rows_of(page("exit-codes").partition("## Errors")[2], 4)[1:]}
    classes = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.LooopError)]
    for each in classes:
        assert each.__name__ in told[each.code]
    said = "|".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    for code in told.keys() - {each.code for each in classes}:
        assert f'"{code}"' in said


def test_the_variables_are_those_that_the_code_reads() -> None:
    """Each is on the page, and no other is; what only a client reads stands in the part about engines."""
    own, _, of_engines = page("environment").partition("## Of engines")
    read = {name for path in PACKAGE.rglob("*.py") if "testing" not in path.parts for name in variables_in(path)}
    told = {word for row in own.splitlines() if row.startswith("| `") for word in words_in(row.split(" | ")[0])}
    assert told == {name if name != "LOOOP_GENERATION_" else "LOOOP_GENERATION_NAME" for name in read}
    for path in ROOT.glob("backends/*/looop_portable_*/*.py"):
        for name in variables_in(path):
            assert f"`{name}`" in of_engines or name == "PYTHONPATH", (path, name)


IN_ENVIRONMENT = re.compile(r"environ(ment)?|given|found|os\.environ")


def variables_in(path: Path) -> Iterator[str]:
    """The variables of the environment that a module reads, or sets for a command: by their literal names."""
    text = path.read_text(encoding="utf-8")
    module = ast.parse(text)
    constants = {
        target.id: node.value.value
        for node in module.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(module):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch("_?LOOOP_[A-Z_]+", node.value):
            yield node.value
        named: list[ast.expr] = []
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
            named = node.args[:1] if IN_ENVIRONMENT.fullmatch(ast.unparse(node.func.value)) else []
        elif isinstance(node, ast.Subscript) and IN_ENVIRONMENT.fullmatch(ast.unparse(node.value)):
            named = [node.slice]
        elif isinstance(node, ast.Compare) and IN_ENVIRONMENT.fullmatch(ast.unparse(node.comparators[0])):
            named = [node.left]
        elif isinstance(node, ast.For | ast.comprehension) and isinstance(node.iter, ast.Tuple):
            loop = ast.get_source_segment(text, node) if isinstance(node, ast.For) else ""
            named = node.iter.elts if "os.environ" in (loop or "") else []
        for each in named:
            name = constants.get(each.id, "") if isinstance(each, ast.Name) else getattr(each, "value", "")
            if isinstance(name, str) and re.fullmatch("_{0,2}[A-Za-z_]{4,}", name) and (name.isupper() or "Path" in name):
                yield name


def test_the_variables_of_an_engine_s_tables_are_seen(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        'import os\nHERE = "PLACE"\nos.environ.get(HERE)\nenvironment["OTHER"] = 1\n'
        'for name in ("FIRST", "SECOND"):\n    os.environ.get(name)\n"LATER" in environment\n'
    )
    assert sorted(variables_in(program)) == ["FIRST", "LATER", "OTHER", "PLACE", "SECOND"]


def test_the_table_of_directory_backends_is_the_code_s() -> None:
    rows = {words_in(row[0])[0]: row for row in rows_of(page("backends"), 5)[1:] if words_in(row[0])}
    assert list(rows) == list(SHIPPED)
    named = {"links": Format(), "links with flock": Format(guard="flock")}
    named |= {"flock": Format(links=False, guard="flock"), "windows": Format(links=False, guard="windows")}
    for name in ("auto", "posix", "windows", "advisory"):
        policy: Policy = getattr(policies, name.upper())
        made = [
            Format(guard=policy.guard),
            *([Format(links=False, guard=policy.without_links or "")] if policy.without_links else []),
        ]
        assert [named[each] for each in re.split(", (?:or )?", rows[name][3])] == made
        accepted = [named[each] for each in rows[name][4].split(", ")]
        for each in named.values():
            takes = each.guard in policy.holds and (each.links or policy.without_links is not None)
            assert takes == (each in accepted), (name, each)


def test_each_scheme_of_ours_is_told() -> None:
    text = page("backends")
    assert [scheme for scheme in OF_ENGINES if f"{scheme}://" not in text and f"`{scheme}`" not in text] == []


ENGINES = {"redis": ("address", "_KNOWN"), "postgres": ("address", "_OURS"), "etcd": ("address", "_FILES")}


@pytest.mark.parametrize("engine", ENGINES)
def test_each_parameter_of_an_engine_s_url_is_told(engine: str) -> None:
    module, constant = ENGINES[engine]
    text = (ROOT / "backends" / engine / f"looop_portable_{engine}" / f"{module}.py").read_text(encoding="utf-8")
    listed = re.search(rf"^{constant} = (\(.*?\))$", text, flags=re.MULTILINE)
    assert listed
    names = set(re.findall(r'"(\w+)"', listed[1])) | set(re.findall(r'"(ssl_\w+)"', text))
    assert {name for name in names if f"`?{name}=`" not in page("backends")} == set()


def test_each_parameter_of_a_bucket_s_url_is_told() -> None:
    text = (ROOT / "backends" / "objects" / "looop_portable_objects" / "place.py").read_text(encoding="utf-8")
    listed = text.partition("_PARAMETERS = ")[2].partition("\n}")[0]
    names = set(re.findall(r'"(\w+)"', listed)) - {"s3", "gs", "az"}
    assert names == {"endpoint", "region", "account", "timeout"}
    assert {name for name in names if f"`?{name}=`" not in page("backends")} == set()


PUBLIC = ["looop_portable", "looop_portable.aio", "looop_portable.testing", "looop_portable.backends.engine"]


@pytest.mark.parametrize("module", PUBLIC)
def test_each_public_name_is_in_the_library_page(module: str) -> None:
    """By a directive of its own, so that the page has its docstring; and no other name is."""
    names: list[str] = []
    current = ""
    for line in page("library").splitlines():
        if found := re.fullmatch(r"\.\. currentmodule:: (\S+)", line):
            current = found[1]
        elif (found := re.fullmatch(r"\.\. auto\w+:: (\w+)", line)) and current == module:
            names.append(found[1])
    assert sorted(names) == sorted(import_module(module).__all__)
