"""Tables for people: columns, and which of them gives way on a narrow terminal.

The last column gives way, or the last two, and no other: what is in the others can be copied, and is never cut. Where they
alone are too wide, each row goes on in another line, between two columns. The terminal breaks a word that is wider still.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet

import click

from looop_portable.cli.output import Output, readable
from looop_portable.typed import TextIO

_GAP, _INDENT = 2, 4
_NARROWEST = 12
"""Cells of the last column: with fewer there is none."""
_USUAL = 80
"""Columns of a terminal that does not tell how many it has."""
TONES = {"dead": "31", "unknown": "33"}
"""The colours of words that somebody looks for: red, yellow."""


def _speak(ctx: click.Context, _: click.Parameter, form: str | None) -> str | None:
    if form == "json" and isinstance(ctx.obj, Output):
        ctx.obj.as_json = True
    return form


def form_of(**more: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """The option for the form of a table. `more`: forms that this verb alone has, and what they are."""
    forms = {"wide": "nothing is cut", "name": "only that, one a line", "json": "as --json", **more}
    return click.option(
        "-o",
        "--output",
        "form",
        type=click.Choice(list(forms)),
        callback=_speak,
        help="; ".join(f"{form}: {what}" for form, what in forms.items()) + ".",
    )


FORM = form_of()


def show_table(
    out: Output, columns: Sequence[str], rows: Sequence[Sequence[str]], form: str | None, giving: int = 1
) -> None:
    """The rows on stdout, as `form` asks for; with --json they have been said already. `giving`: so many give way."""
    if out.as_json:
        return
    if form == "name":
        for row in rows:
            out.line(row[0])
        return
    stream = sys.stdout
    terminal = stream is not None and stream.isatty()
    width = _width(stream) if terminal and form != "wide" else None
    cleaned = [[readable(cell) for cell in row] for row in rows]
    for line in drawn(columns, cleaned, width, TONES if coloured(stream) else {}, ellipsis_of(stream), giving):
        out.drawn(line)


def show_some(
    out: Output,
    rows: Sequence[Mapping[str, str]],
    form: str | None,
    some: AbstractSet[str],
    wide: AbstractSet[str] = frozenset(),
    giving: AbstractSet[str] = frozenset(),
) -> None:
    """The rows, by their columns. A wide table has all of them; else `some` are there only if a row has something in them,
    and `wide` are not. The last one gives way, and those of `giving`, which are before it.
    """
    columns = [
        column
        for column in rows[0]
        if form == "wide" or (column not in wide and (column not in some or any(row[column] for row in rows)))
    ]
    cells = [[row[column] or "-" if column not in giving else row[column] for column in columns] for row in rows]
    show_table(out, columns, cells, form, giving=1 + sum(column in giving for column in columns))


def coloured(stream: TextIO | None) -> bool:
    """Whether colours are wanted there: see https://no-color.org."""
    if stream is None or not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    if sys.platform != "win32":
        return True
    from rich.console import detect_legacy_windows

    return not detect_legacy_windows()


def _width(terminal: TextIO) -> int:
    told = os.environ.get("COLUMNS", "")
    if told.isascii() and told.isdigit() and int(told):
        return int(told)
    try:
        return os.get_terminal_size(terminal.fileno()).columns or _USUAL
    except OSError:
        return _USUAL


def ellipsis_of(stream: TextIO | None) -> str:
    """What says there that something is cut off."""
    try:
        "\u2026".encode((stream and stream.encoding) or "utf-8")
    except UnicodeEncodeError:
        return "..."
    return "\u2026"


def drawn(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int | None,
    tones: Mapping[str, str],
    ellipsis: str = "\u2026",
    giving: int = 1,
) -> list[str]:
    """The rows of a table, the columns' names first. One that goes on in another line has a line feed in it.

    `width`: in cells, of the terminal; None: as wide as it is. `giving`: so many give way.
    """
    widths = [max(map(cells, column)) for column in zip(columns, *rows, strict=True)]
    fixed = len(columns) - giving
    wanted, found, folds = widths[fixed:], widths[fixed:], list[int]()
    if width is not None:
        folds = _folds(widths[:fixed], width)
        last = widths[folds[-1] if folds else 0 : fixed]
        found = _shares(wanted, width - sum(last) - _GAP * len(last) - (_INDENT if folds else 0))
    widths = [*widths[:fixed], *found]
    columns = columns[: len(widths)]
    rows = [
        [*row[:fixed], *(cut(cell, most, ellipsis) for cell, most in zip(row[fixed:], found, strict=False))] for row in rows
    ]
    lines = [_line(row, widths, tones, folds) for row in [columns, *rows]]
    return [f"\x1b[1m{lines[0]}\x1b[0m" if tones else lines[0], *lines[1:]]


def _folds(widths: Sequence[int], width: int) -> list[int]:
    """The columns that begin another line. None do where all have room in one."""
    found, used = list[int](), 0
    for at, each in enumerate(widths):
        if at and used + each > width:
            found.append(at)
            used = _INDENT
        used += each + _GAP
    return found


def _shares(wanted: list[int], room: int) -> list[int]:
    """How wide the columns are that give way. The last one goes where one would be too narrow, then the one before it."""
    while wanted:
        found = _split(wanted, room - _GAP * (len(wanted) - 1))
        if all(each >= min(_NARROWEST, most) for each, most in zip(found, wanted, strict=True)):
            return found
        wanted = wanted[:-1]
    return []


def _split(wanted: list[int], room: int) -> list[int]:
    """Each has its part of the room, and what the others do not need of theirs: the first ones first."""
    part, found = room // len(wanted), list[int]()
    for at, each in enumerate(wanted):
        found.append(min(each, room - sum(found) - sum(min(later, part) for later in wanted[at + 1 :])))
    return found


def _line(row: Sequence[str], widths: Sequence[int], tones: Mapping[str, str], folds: Sequence[int]) -> str:
    spaces = [" " * (width - cells(cell) + _GAP) for cell, width in zip(row, widths, strict=True)]
    words = [f"\x1b[{tones[cell]}m{cell}\x1b[0m" if cell in tones else cell for cell in row]
    parts = [word + space for word, space in zip(words, spaces, strict=True)]
    lines = [parts[start:end] for start, end in zip([0, *folds], [*folds, None], strict=True)]
    return f"\n{' ' * _INDENT}".join("".join(line).rstrip() for line in lines)


def cut(text: str, most: int, ellipsis: str) -> str:
    """At most so many cells of it, with an ellipsis for what is missing."""
    if cells(text) <= most:
        return text
    most -= len(ellipsis)
    while text and cells(text) > most:
        text = text[: min(len(text) - 1, most)]
    return f"{text.rstrip()}{ellipsis}"


def cells(text: str) -> int:
    """How wide a terminal shows it."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)
