"""Finding a program as cmd.exe does, and what is passed to a batch file."""

from __future__ import annotations

import string

import pytest

from looop_portable.errors import UsageError
from looop_portable.running.child.programs import batch_line, found, is_batch

THERE = {
    *(r"C:\node\npm", r"C:\node\npm.cmd", r"C:\node\node.exe", r"C:\tools\node.exe", r"C:\tools\build.bat"),
    *(r"C:\odd\python3.11.exe", r"C:\odd\plain", r".\here.cmd", r"sub\x.cmd", r"C:\odd\tool.v2.cmd"),
}
LOWER = {each.lower() for each in THERE}
PATH = r'C:\node;"C:\tools";;C:\odd'
INTERPRETER = r"C:\Windows\System32\cmd.exe"


def is_file(path: str) -> bool:
    return path.replace("/", "\\").lower().rstrip(". ") in LOWER


@pytest.mark.parametrize(
    ("name", "program"),
    [
        ("npm", r"C:\node\npm.CMD"),  # And not the shell script beside it.
        ("NPM.cmd", r"C:\node\NPM.cmd"),
        ("node", r"C:\node\node.EXE"),
        ("build", r"C:\tools\build.BAT"),
        ("python3.11", r"C:\odd\python3.11.EXE"),
        ("tool.v2", r"C:\odd\tool.v2.CMD"),
        (r"C:\node\npm", r"C:\node\npm.CMD"),
        ("sub/x", "sub/x.CMD"),
        ("here", r".\here.CMD"),
        ("nothing", ""),
        ("", ""),
    ],
)
def test_a_program_is_found_by_the_endings_that_programs_have(name: str, program: str) -> None:
    assert found(name, PATH, "", is_file, ".") == program


def test_the_current_directory_is_looked_into_only_if_it_is_named() -> None:
    assert found("here", PATH, ".CMD", is_file) == ""


def test_the_endings_are_those_of_the_variable() -> None:
    assert found("npm", PATH, ".EXE", is_file) == ""
    assert found("build", PATH, ".EXE;.bat", is_file) == r"C:\tools\build.bat"


@pytest.mark.parametrize(
    ("program", "batch"),
    [
        ("x.cmd", True),
        ("X.BAT", True),
        ("x.cmd. .", True),
        ("x.bat ", True),
        ("x.exe", False),
        ("bat", False),
        ("x.cmd.exe", False),
    ],
)
def test_a_batch_file_is_known_as_windows_knows_it(program: str, batch: bool) -> None:
    assert is_batch(program) is batch


@pytest.mark.parametrize(
    ("word", "passed"),
    [
        ("plain", "plain"),
        ("--flag", "--flag"),
        ("", '""'),
        ("a b", '"a b"'),
        ("a=b", '"a=b"'),
        ("react@^18", '"react@^18"'),
        ("(x)", '"(x)"'),
        ("!x!", '"!x!"'),
        ("C:\\x\\", '"C:\\x\\\\"'),
        ("a b\\\\", '"a b\\\\\\\\"'),
        ("é", '"é"'),
    ],
)
def test_an_argument_is_quoted_unless_it_is_plain(word: str, passed: str) -> None:
    line = batch_line(r"C:\a b\x.cmd", [word], INTERPRETER)
    assert line == f'"{INTERPRETER}" /d /e:on /v:off /s /c ""C:\\a b\\x.cmd" {passed}"'


@pytest.mark.parametrize("character", ["&", "|", "<", ">", "%", '"', "\n", "\r", "\0", "\x1a", "\x7f"])
@pytest.mark.parametrize("around", ["x{}echo=INJECTED", "{}", "a b{}"])
def test_what_cmd_may_take_for_a_command_or_a_variable_is_refused(character: str, around: str) -> None:
    with pytest.raises(UsageError, match=r"x\.cmd is a batch file, and cmd\.exe may run") as refused:
        batch_line("x.cmd", ["ok", around.format(character)], INTERPRETER)
    assert "\n" not in str(refused.value)
    with pytest.raises(UsageError):
        batch_line(f"x{character}.cmd", [], INTERPRETER)


def test_whatever_is_passed_on_is_between_quotes_or_means_nothing_to_cmd() -> None:
    special = set("&|<>^%!()@\"=,;~`'[]{}+ \t")
    for character in map(chr, range(1, 256)):
        try:
            line = batch_line("x.cmd", [f"a{character}b"], INTERPRETER)
        except UsageError:
            continue
        word = line.removesuffix('"').split('"x.cmd" ')[1]
        quoted = word.startswith('"') and word.endswith('"') and '"' not in word[1:-1]
        assert quoted or character in string.ascii_letters + string.digits + "#$*+-./:?@_\\", character
        assert quoted or character not in special - set("@+"), character
