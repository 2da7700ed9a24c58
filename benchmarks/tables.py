"""What a measurement found, as a table: for a terminal and for Markdown. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

OURS = "looop-portable"
"""What every row of ours begins with."""


class Table(NamedTuple):
    """`about`: what was done, and which figures are the better ones. The first column names the row; others are figures."""

    title: str
    about: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Panel(NamedTuple):
    """One part of the plot: a figure for each contender, the smaller the better. `unit` is what it is in."""

    title: str
    unit: str
    values: tuple[tuple[str, float], ...]


class Result(NamedTuple):
    tables: tuple[Table, ...]
    panels: tuple[Panel, ...] = ()


def markdown(table: Table) -> str:
    """A heading, what was done, and the table; figures to the right, our rows bold."""
    lines = [f"## {table.title}", "", table.about, ""]
    lines += [_row(table.columns), "|" + "|".join(["---"] + ["---:"] * (len(table.columns) - 1)) + "|"]
    lines += [_row([f"**{cell}**" for cell in row] if row[0].startswith(OURS) else row) for row in _checked(table)]
    return "\n".join(lines) + "\n"


def text(table: Table) -> str:
    """The same for a terminal, in columns."""
    cells = [table.columns, *_checked(table)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))])
        for row in cells
    ]
    return "\n".join([table.title, *(line.rstrip() for line in lines)]) + "\n"


def number(value: float, unit: str = "") -> str:
    """Three digits that count, and no exponent: 0.0123, 1.23, 12.3, 1,235."""
    if value == 0:
        shown = "0"
    else:
        digits = 0
        while digits < 6 and abs(value) * 10**digits < 99.95:
            digits += 1
        shown = f"{value:,.{digits}f}"
    return f"{shown} {unit}".rstrip()


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them."""
    if seconds >= 1:
        return number(seconds, "s")
    return number(seconds * 1e3, "ms") if seconds >= 1e-3 else number(seconds * 1e6, "us")


def _checked(table: Table) -> tuple[tuple[str, ...], ...]:
    """Without this, a row that has lost a cell would show its figures in the columns of others."""
    for row in table.rows:
        if len(row) != len(table.columns):
            raise ValueError(f"{table.title}: the row {row[0]!r} has {len(row)} cells for {len(table.columns)} columns")
    return table.rows


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
