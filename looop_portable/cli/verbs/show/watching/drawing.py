"""The lines of a live table: so many as the terminal has, of what is known of the claims, as somebody wants to see it.

Does not guarantee: that a row has one line. One that is too wide has several (see `tables`): only the last columns are cut.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from looop_portable.cli.output import readable
from looop_portable.cli.output.tables import cells, cut, drawn
from looop_portable.cli.verbs.show.rows import COLUMNS, Row, has_notes, row_of, without_notes
from looop_portable.cli.verbs.show.selecting import Selection
from looop_portable.cli.verbs.show.watching.looking import Seen
from looop_portable.cli.verbs.show.watching.state import KEYS, View
from looop_portable.protocol.liveness import Liveness
from looop_portable.protocol.outcomes import Status
from looop_portable.typed import NamedTuple

_HINT = "q quit  / filter  s sort  r reverse  d dead  h held  ? keys"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_AROUND = 3
"""Lines that are no rows: what is shown of how many, the columns, and the keys."""


class Paper(NamedTuple):
    """What is drawn on."""

    width: int
    height: int
    tones: Mapping[str, str] = {}
    ellipsis: str = "\u2026"


class Chosen(NamedTuple):
    """The claims that are shown, in order. `widest`: a row whose cells are as wide as any of its column."""

    found: list[Status]
    widest: Row
    counts: dict[Liveness, int]
    of: int
    notes: bool

    @classmethod
    def of_all(cls, seen: Seen, selection: Selection, view: View) -> Chosen:
        dead, held = view.life == "dead", view.life == "held"
        found = selection._replace(dead=dead, held=held, sort=view.sort).of(seen.found)
        found = [status for status in found if view.shows(status.name)]
        if view.reverse:
            found.reverse()
        rows = [row_of(status) for status in found]
        widest = tuple(max(map(readable, column), key=cells) for column in zip(COLUMNS, *rows, strict=True))
        lives = [status.verdict.liveness for status in found if status.verdict]
        return cls(found, widest, {life: lives.count(life) for life in Liveness}, len(seen.found), has_notes(rows))


class Page(NamedTuple):
    """`rows`: so many it can have."""

    lines: list[str]
    rows: int


def page(chosen: Chosen | None, seen: Seen | None, view: View, paper: Paper, trouble: str, *, has_keys: bool) -> Page:
    """As many lines as there are on the paper. `trouble`: what is to be said at the bottom."""
    body, rows = max(0, paper.height - _AROUND), 1
    if view.help:
        lines = [cut(line, paper.width, paper.ellipsis) for line in ("Keys of looop watch", "", *_help(paper))]
    elif chosen is None or seen is None:
        lines = [cut("looking at the claims ...", paper.width, paper.ellipsis)]
    else:
        header, table, rows = _table(chosen, seen, view, paper, body)
        view = view.within(len(chosen.found), rows)
        lines = [cut(_title(chosen, view, rows), paper.width, paper.ellipsis), *header, *table]
    lines = [*lines[: paper.height - 1], *[""] * (paper.height - 1 - len(lines))]
    return Page([*lines, _footer(view, paper, trouble, has_keys=has_keys)][-paper.height :], rows)


def _table(chosen: Chosen, seen: Seen, view: View, paper: Paper, body: int) -> tuple[list[str], list[str], int]:
    """The lines of the columns, those of the rows, and how many rows there is room for."""
    columns: Row = COLUMNS
    if not chosen.notes:
        columns, widest = without_notes([columns, chosen.widest])
    else:
        widest = chosen.widest

    def lines_of(rows: Sequence[Row]) -> list[str]:
        return drawn(columns, rows, paper.width, paper.tones, paper.ellipsis, 2 if chosen.notes else 1)

    head, each = (list(_folded(line, paper.width)) for line in lines_of([widest]))
    rows = max(1, (body - len(head) + 1) // len(each))
    top = view.within(len(chosen.found), rows).top
    shown = [row_of(seen.judged(status)) for status in chosen.found[top : top + rows]]
    cleaned = [tuple(map(readable, row)) for row in (shown if chosen.notes else without_notes(shown))]
    lines = lines_of([*cleaned, widest])[1:-1]
    if not lines:
        none = f"no such claims are held, of {chosen.of}" if chosen.of else "no claims are held"
        return head, [cut(none, paper.width, paper.ellipsis)], rows
    return head, [part for line in lines for part in _folded(line, paper.width)], rows


def _title(chosen: Chosen, view: View, rows: int) -> str:
    number = len(chosen.found)
    told = [f"{number} of {chosen.of} claims" if number != chosen.of else f"{number} claims"]
    told[0] += "".join(
        f", {count} {life.value}" for life, count in chosen.counts.items() if count and life is not Liveness.ALIVE
    )
    if rows < number:
        told.append(f"{view.top + 1}-{min(view.top + rows, number)}")
    if view.life:
        told.append(f"only {view.life}")
    told.append(f"by {view.sort}{', reversed' if view.reverse else ''}")
    if view.filter:
        told.append(f"filter {readable(view.filter)}")
    return "; ".join(told)


def _footer(view: View, paper: Paper, trouble: str, *, has_keys: bool) -> str:
    if view.typing:
        typed = f"/{readable(view.filter)}_"
        while cells(typed) > paper.width and typed:
            typed = typed[1:]
        return cut(f"{typed}  (Enter keeps it, Esc clears it)", max(paper.width, 1), paper.ellipsis)
    if trouble:
        line = cut(readable(trouble), paper.width, paper.ellipsis)
        tone = paper.tones.get(Liveness.DEAD.value)
        return f"\x1b[{tone}m{line}\x1b[0m" if tone else line
    hint = "any key: back" if view.help else _HINT
    return cut(hint if has_keys else "Ctrl-C ends", paper.width, paper.ellipsis)


def _help(paper: Paper) -> Iterator[str]:
    from textwrap import wrap

    wide = max(len(key) for key, _ in KEYS) + 2
    for key, what in KEYS:
        first, *more = wrap(what, max(paper.width - wide, 20))
        yield f"{key:<{wide}}{first}"
        yield from (" " * wide + line for line in more)


def _folded(line: str, width: int) -> Iterator[str]:
    """`line` in pieces that are no wider, and in its own lines. A colour goes on in the next piece."""
    piece, room, colour, at = "", width, "", 0
    while at < len(line):
        if found := _COLOUR.match(line, at):
            colour = "" if found[0] == "\x1b[0m" else found[0]
            piece, at = piece + found[0], found.end()
            continue
        if line[at] == "\n":
            yield f"{piece}\x1b[0m" if colour else piece
            piece, room, at = colour, width, at + 1
            continue
        wide = cells(line[at])
        if wide > room and room < width:
            yield f"{piece}\x1b[0m" if colour else piece
            piece, room = colour, width
        piece, room, at = piece + line[at], room - wide, at + 1
    yield piece
