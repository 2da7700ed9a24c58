"""`watch`."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import signal
import sys
from collections.abc import Iterator

import click

from looop_portable.claims.gate import Claims
from looop_portable.cli.ending import Endings, endings
from looop_portable.cli.output.setting import Setting
from looop_portable.cli.output.tables import show_table
from looop_portable.cli.verb import Verb
from looop_portable.cli.verbs.show.rows import COLUMNS, fields_of, has_notes, row_of, without_notes
from looop_portable.cli.verbs.show.selecting import Selection, selecting
from looop_portable.cli.verbs.show.watching.changes import Change, changes
from looop_portable.cli.verbs.show.watching.keyboard import CONTINUED, STOPPED, Keyboard, NoKeyboard
from looop_portable.cli.verbs.show.watching.looking import Looker, Seen
from looop_portable.cli.verbs.show.watching.state import View
from looop_portable.cli.words.clicks import Duration
from looop_portable.protocol.outcomes import Status
from looop_portable.system.clock import elapsed, timestamp
from looop_portable.typed import Any

_SLOW = 3.0
"""Seconds after which it is said that the store does not answer."""
_REDRAWN = 2.0
"""Seconds from one drawing to the next, at most: ages grow."""
_LONGEST = 86400.0
"""Seconds between two looks, at most."""


@click.command(
    cls=Verb,
    short_help="Show the claims live, and what changes.",
    examples={'looop watch "ci-*" --sort age': "Those whose name begins so, until q or Ctrl-C."},
)
@selecting
@click.option(
    "-n",
    "--interval",
    type=Duration(least=0.1, most=_LONGEST),
    default=2.0,
    metavar="DURATION",
    help="Look so often, if nothing tells of a change before.  [2s]",
)
@click.pass_obj
def watch(out: Setting, /, interval: float, **selection: Any) -> int:
    """Show the claims that are held, as `looop claims` does, and what changes, until q or Ctrl-C.

    Keys filter (/), sort (s, r), choose (d, h) and scroll; ? shows them. Where stdout is no terminal, the table is printed
    once, and then a line for each change; with --json an object each. A store that does not answer is waited for. With many
    claims it looks less often: while nothing changes it takes a hundredth of a processor's time.
    """
    gc.enable()
    claims, selected = out.claims(), Selection(**selection)
    if out.as_json or out.quiet or not _can_be_drawn_on():
        return _print_changes(out, claims, selected, interval)
    return _show_live(claims, selected, interval)


def _can_be_drawn_on() -> bool:
    """Whether stdout is a terminal whose cursor can be moved."""
    if sys.stdout is None or not sys.stdout.isatty() or os.environ.get("TERM", "") in ("dumb", "unknown"):
        return False
    if sys.platform != "win32":
        return True
    from rich.console import detect_legacy_windows

    return not detect_legacy_windows()


def _show_live(claims: Claims, selection: Selection, interval: float) -> int:
    from looop_portable.cli.verbs.show.watching.drawing import Chosen, page
    from looop_portable.cli.verbs.show.watching.screen import Screen

    life = "" if selection.dead is selection.held else "dead" if selection.dead else "held"
    view, screen, keyboard = View(selection.sort, life), Screen(), _new_keyboard()
    looker, chosen = Looker(claims, interval, keyboard.wake), None
    chosen_for: tuple[object, ...] = ()
    with endings() as ends, _taken(keyboard, screen, ends):
        looker.start()
        while not view.is_over:
            seen, paper = _seen(looker), screen.paper()
            wanted = (seen and id(seen.found), view.sort, view.life, view.reverse, view.filter)
            if seen and wanted != chosen_for:
                chosen, chosen_for = Chosen.of_all(seen, selection, view), wanted
            drawn = page(chosen, seen, view, paper, _trouble(looker), has_keys=sys.stdin is not None and sys.stdin.isatty())
            screen.draw(drawn.lines, paper)
            rows = len(chosen.found) if chosen else 0
            view = view.within(rows, drawn.rows)
            for key in keyboard.wait(min(interval, _REDRAWN)):
                if key == STOPPED:
                    screen.leave()
                    keyboard.stop()
                if key in (STOPPED, CONTINUED):
                    screen.enter()
                elif key == "interrupt":
                    raise KeyboardInterrupt
                view = view.pressed(key, rows, drawn.rows)
    return 0


def _new_keyboard() -> Keyboard:
    """That of the terminal on stdin. Without one there are no keys, but a terminal may be resized, and a job stopped."""
    keyboard: Keyboard = NoKeyboard()
    there = sys.stdin is not None and sys.stdin.isatty()
    if sys.platform != "win32":
        from looop_portable.cli.verbs.show.watching.posix import PosixKeyboard

        keyboard = PosixKeyboard(sys.stdin.fileno() if there else None)
    if sys.platform == "win32" and there:
        from looop_portable.cli.verbs.show.watching.windows import WindowsKeyboard

        keyboard = WindowsKeyboard()
    return keyboard


@contextlib.contextmanager
def _taken(keyboard: Keyboard, screen: Any, ends: Endings) -> Iterator[None]:
    """Inside, the terminal is ours. What is asked of this process while it is given back has to wait."""

    def give_back() -> None:
        screen.leave()
        keyboard.close()

    try:
        try:
            keyboard.open()
            screen.enter()
            yield
        except OSError as error:
            if sys.platform != "win32" and error.errno == errno.EIO:  # It has hung up: the signal comes just after that.
                ends.handle(signal.SIGHUP, None)
            raise
        finally:
            ends.wait()
            give_back()
    finally:
        give_back()  # If a signal came just before the first time.
    ends.hear()


def _seen(looker: Looker) -> Seen | None:
    if looker.failed is not None:
        raise looker.failed
    return looker.seen


def _trouble(looker: Looker) -> str:
    seen, since = looker.seen, looker.looks_since
    if seen and seen.trouble:
        return f"cannot be read, for {elapsed() - seen.since:.0f} s: {seen.trouble}"
    if since is not None and elapsed() - since > _SLOW:
        return f"the store has not answered for {elapsed() - since:.0f} s"
    return ""


def _print_changes(out: Setting, claims: Claims, selection: Selection, interval: float) -> int:
    waker = NoKeyboard()
    looker, found, trouble = Looker(claims, interval, waker.wake), None, ""
    with endings():
        looker.start()
        while not out.unheard and not _is_unheard():
            if seen := _seen(looker):
                if seen.trouble != trouble:
                    trouble = seen.trouble
                    _print_trouble(out, trouble)
                if seen.found is not found:
                    _print_news(out, selection, found, seen.found)
                    found = seen.found
            waker.wait(1.0)
    return 0


def _print_news(out: Setting, selection: Selection, known: list[Status] | None, found: list[Status]) -> None:
    """The first time, the table."""
    if known is None:
        _print_table(out, selection.of(found))
        return
    for change, before in changes({status.name: status for status in known}, {status.name: status for status in found}):
        if selection.of([status for status in (before, change.status) if status]):
            _print_change(out, change)


def _print_table(out: Setting, found: list[Status]) -> None:
    for status in found:
        if out.as_json:
            out.answer("watch", "held", "", fields_of(status))
    rows = [row_of(status) for status in found]
    columns: tuple[str, ...] = COLUMNS
    if not has_notes(rows):
        (columns, *rows) = without_notes([columns, *rows])
    if rows:
        show_table(out, columns, rows, None, giving=2 if "NOTE" in columns else 1)
    else:
        out.hint("no such claims are held")


def _print_change(out: Setting, change: Change) -> None:
    at, status = timestamp(), change.status
    told = {"session": status.lease.session if status.lease else "", "generation": status.generation}
    told |= {"previous": change.previous, "note": status.lease.note if status.lease else ""}
    if change.event not in ("claimed", "released") and status.verdict:
        told["evidence"] = status.verdict.description
    line = "  ".join([at, change.event, status.name, *(f"{key}={value}" for key, value in told.items() if value)])
    fields = {"ts": at, **fields_of(status), "previous": change.previous or None}
    out.answer("watch", change.event, line, fields)


def _print_trouble(out: Setting, trouble: str) -> None:
    if out.as_json:
        outcome = "unreachable" if trouble else "reachable"
        out.answer("watch", outcome, "", {"ts": timestamp(), "message": trouble or None})
    else:
        out.trouble(f"looop: the claims cannot be read: {trouble}" if trouble else "looop: the claims can be read again")


def _is_unheard() -> bool:
    """Whether nobody reads the pipe any more that stdout is. Without this, it would be known at the next change."""
    if sys.platform != "win32" and sys.stdout is not None:
        from looop_portable.cli.verbs.show.watching.posix import has_no_reader

        return has_no_reader(sys.stdout.fileno())
    return False
