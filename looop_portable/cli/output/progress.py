"""What is told on stderr meanwhile: of a claim that is waited for who holds it, and on what evidence that is alive; of long
work what is being done."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator

from looop_portable.cli.output import Output, readable
from looop_portable.errors import describe_holder
from looop_portable.protocol.outcomes import Held, OnWaiting
from looop_portable.system.clock import elapsed
from looop_portable.waiting.limits import Minutes, still_waiting

SHOWN_AFTER = 0.5
"""Seconds of work, after which it is said what is done: most is over by then."""


@contextlib.contextmanager
def waiting_for(out: Output) -> Iterator[OnWaiting]:
    """What to call for each look that found somebody else's claim. Says it once for each holder, and each minute.

    On a terminal the line turns and counts the seconds; there it goes when the waiting is over.
    """
    with contextlib.ExitStack() as shown:
        yield _turning(shown) if _on_a_terminal(out) else print_once(out)


@contextlib.contextmanager
def working(out: Output, verb: str) -> Iterator[Callable[[str], object]]:
    """What to call with what is being done. On a terminal a line says so, turns and counts the seconds; it goes at the end.

    Elsewhere nothing is said: what is waited for there says what came of it.
    """
    if not _on_a_terminal(out):
        yield _silently
        return
    done, doing = threading.Event(), ["working"]
    shows = threading.Thread(target=_show_work, args=(verb, doing, done), daemon=True)
    shows.start()
    try:
        yield doing.append
    finally:
        done.set()
        shows.join()


def _silently(_: str) -> None:
    return


def _show_work(verb: str, doing: list[str], done: threading.Event) -> None:
    began = elapsed()
    if done.wait(SHOWN_AFTER):
        return
    with contextlib.ExitStack() as shown:
        turn = _turning_line(shown)
        while True:
            turn(f"looop {verb}: {readable(doing[-1])}, {elapsed() - began:.0f} s so far")
            if done.wait(0.2):
                return


def _on_a_terminal(out: Output) -> bool:
    return not (out.as_json or out.quiet) and sys.stderr is not None and sys.stderr.isatty()


def print_once(out: Output) -> OnWaiting:
    """What to call for each look: a line for each holder that is waited for, and one a minute. Some end who is silent."""
    minutes = Minutes()

    def on_waiting(held: Held, waited: float) -> None:
        if minutes.is_new(held, waited):
            out.hint(_line(held, waited))
        elif minutes.is_due(waited):
            out.hint(still_waiting(held, waited))

    return on_waiting


def _turning(shown: contextlib.ExitStack) -> OnWaiting:
    turn = _turning_line(shown)
    return lambda held, waited: turn(readable(_line(held, waited)))


def _turning_line(shown: contextlib.ExitStack) -> Callable[[str], object]:
    """What to call with what the line says from now on. It is there from the first call on, until `shown` ends."""
    update: list[Callable[[str], object]] = []

    def turn(line: str) -> None:
        if not update:
            from rich.console import Console
            from rich.live import Live
            from rich.spinner import Spinner
            from rich.text import Text

            console = Console(stderr=True)
            # Without this, one that is ended meanwhile (as timeout(1) does) would leave the terminal without its cursor.
            setattr(console, "show_cursor", lambda _show=True: False)  # noqa: B010 (a method, for the type checker)
            spinner = Spinner("line", Text(line), style="status.spinner")
            # An answer that is printed meanwhile into a file or a pipe would else come to the terminal, and not there.
            is_shown_too = sys.stdout is not None and sys.stdout.isatty()
            live = Live(spinner, console=console, refresh_per_second=12.5, transient=True, redirect_stdout=is_shown_too)
            shown.enter_context(live)
            update.append(lambda text: spinner.update(text=Text(text)))
        update[0](line)

    return turn


def _line(held: Held, waited: float) -> str:
    lease, verdict = held
    note = f"; note: {lease.note}" if lease.note else ""
    return (
        f"claim {lease.name}: held by {describe_holder(lease.session)}; waiting for it, {waited:.0f} s so far "
        f"(generation {lease.generation}: {verdict.description}){note}"
    )
