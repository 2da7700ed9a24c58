"""Finding a program as cmd.exe does, and a command line for one that is a batch file. Pure: what is there is passed in.

Guarantees: cmd.exe runs no part of a batch file's argument as a command, and reads none as a variable. What cannot be
passed on so is refused: cmd.exe reads these arguments twice and more, and a batch file may take their quotes away (`%~1`).
Does not guarantee: that a batch file sees what a program would: `%1` shows the quotes.
How: arguments are quoted. Those with a character that means something to cmd.exe in quotes too, or once they are gone, are
refused. Its extensions are on and delayed variables off, whatever the registry says.
"""

from __future__ import annotations

import ntpath
import re
from collections.abc import Callable, Sequence

from looop_portable.errors import UsageError

DEFAULT_PATHEXT = ".COM;.EXE;.BAT;.CMD"

BUILT_IN = frozenset(
    re.findall(
        r"\w+",
        "assoc break call cd chdir cls color copy date del dir echo endlocal erase exit for ftype goto if md mkdir mklink"
        " move path pause popd prompt pushd rd rem ren rename rmdir set setlocal shift start time title type ver verify"
        " vol",
    )
)
"""What cmd.exe does itself: there is no such program."""

_REFUSED = re.compile(r'[&|<>%"\x00-\x1f\x7f]')
_PLAIN = re.compile(r"[\w#$*+\-./:?@\\]+", re.ASCII)


def found(name: str, path: str, pathext: str, is_file: Callable[[str], bool], here: str = "") -> str:
    """The program called `name`, by its path; empty: there is none.

    `path` and `pathext`: as the variables of these names have them. `here`: where it is looked for first, if anywhere.
    """
    extensions = [each for each in (pathext or DEFAULT_PATHEXT).split(";") if each.startswith(".")]
    own = ntpath.splitext(name.rstrip(". "))[1].lower()
    endings = ["", *extensions] if own in map(str.lower, extensions) else [*extensions, ""] if own else extensions
    directories = [""] if ntpath.dirname(name) or ntpath.splitdrive(name)[0] else [here, *path.split(";")]
    for directory in directories:
        for ending in endings:
            candidate = ntpath.join(directory.strip('"'), name + ending)
            if (directory or len(directories) == 1) and is_file(candidate):
                return candidate
    return ""


def is_batch(program: str) -> bool:
    """Whether cmd.exe runs it: Windows leaves dots and spaces at the end out."""
    return program.rstrip(". ").lower().endswith((".bat", ".cmd"))


def batch_line(program: str, arguments: Sequence[str], interpreter: str) -> str:
    """The command line by which `interpreter`, cmd.exe, runs the batch file. Raises `UsageError`."""
    words = [_word(program, program, always=True), *(_word(each, program) for each in arguments)]
    return f'"{interpreter}" /d /e:on /v:off /s /c "{" ".join(words)}"'


def _word(word: str, program: str, *, always: bool = False) -> str:
    bad = _REFUSED.search(word)
    if bad:
        why = f"{program} is a batch file, and cmd.exe may run a part of {word!r} for its {bad[0]!r}"
        raise UsageError(f"{why}: name the program that the batch file runs, or write it into a batch file of your own")
    if _PLAIN.fullmatch(word) and not always and not word.endswith("\\"):
        return word
    # A program that is handed the word would take a backslash before the last quote for its own.
    return f'"{word}{"" if always else _backslashes(word)}"'


def _backslashes(word: str) -> str:
    return word[len(word.rstrip("\\")) :]
