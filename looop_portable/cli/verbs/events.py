"""`events`."""

from __future__ import annotations

import gc
import json
import os
import stat
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import BinaryIO

import click

from looop_portable.claims.events import CAP
from looop_portable.cli.completion.offers import claim_names
from looop_portable.cli.output.setting import Setting
from looop_portable.cli.verb import Verb
from looop_portable.cli.verbs.show.selecting import fits
from looop_portable.cli.words import HOW
from looop_portable.cli.words.clicks import OfSeconds
from looop_portable.cli.words.durations import seconds_in
from looop_portable.protocol.codec import decode
from looop_portable.system.files import OS

Event = Mapping[str, object]

_POLL = 0.2
"""Seconds from one look at the log to the next: it may be on a network, where no news is heard."""
_TAIL = 2 * CAP
"""Bytes of a log that are looked at: it is renamed when it has half of them, so more of it is not ours."""
_CHUNK = 1 << 16
_LONGEST = 1 << 20
"""Bytes of a line: a longer one is no event, and is not kept in memory."""


def moment(text: str) -> float | None:
    """A time as ISO 8601 has it, in seconds since 1970; without a zone it is UTC's. None: it is none."""
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


class Moment(OfSeconds):
    """A time: so long ago, or one of a calendar. In seconds since 1970."""

    name = "moment"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, int | float):
            return value
        at = moment(str(value))
        if at is not None and not str(value).strip().isdecimal():
            return at
        try:
            return time.time() - seconds_in(str(value))
        except ValueError:
            self.fail(f"{value!r} is no time: write how long ago ({HOW}), or 2026-01-31T12:00:00Z", param, ctx)


@click.command(
    cls=Verb,
    short_help="Print what happened to claims.",
    examples={
        "looop events --since 1h": "What happened in the last hour.",
        "looop events --claim repo-x --tail 5": "The last five things that happened to it.",
    },
)
@click.option("--follow", is_flag=True, help="Wait for more, until interrupted.")
@click.option("--since", type=Moment(), metavar="WHEN", help="Not before: 1h ago, or 2026-01-31T12:00:00Z (or a date).")
@click.option(
    "--claim",
    "wanted",
    metavar="PATTERN",
    shell_complete=claim_names,
    help="Only of claims with such names ('ci-*': quote it).",
)
@click.option("--tail", type=click.IntRange(min=0), metavar="N", help="Only the last N; 0 with --follow: from now on.")
@click.pass_obj
def events(out: Setting, follow: bool, since: float | None, wanted: str | None, tail: int | None) -> int:
    """Print what happened to claims and sessions, oldest first: the event log and the one before it.

    Lines that are no events are left out; of a log that is longer than 16 MiB, which none of ours is, so is its beginning.
    With --claim the events of sessions are left out. Times are those of the host that wrote the event.
    """
    path = out.config.events
    if follow:
        gc.enable()
    last: deque[Event] | None = None if tail is None else deque(maxlen=tail)

    def print_last() -> None:
        nonlocal last
        kept, last = last or (), None
        for event in kept:
            _print(out, event)

    for name in (f"{path}.1", path):
        for line in _lines(name, follow and name == path, print_last):
            event = decode(line)
            if not event or not _is_wanted(event, since, wanted):
                continue  # Or half of one: its writer has crashed.
            if last is None:
                _print(out, event)
            else:
                last.append(event)
            if out.unheard:
                return 0
    print_last()
    return 0


def _is_wanted(event: Event, since: float | None, wanted: str | None) -> bool:
    if wanted is not None and not (event.get("claim") and fits(str(event["claim"]), wanted)):
        return False
    if since is None:
        return True
    at = moment(str(event.get("ts", "")))
    return at is not None and at >= since


def _print(out: Setting, event: Event) -> None:
    if out.as_json:
        out.line(json.dumps(event))
        return
    known = ("ts", "event", "claim")
    lines = [str(event.get(key) or "-") for key in known]
    lines += [f"{key}={value}" for key, value in event.items() if key not in known and not _is_of_nothing(key, value)]
    out.line("  ".join(lines))


def _is_of_nothing(key: str, value: object) -> bool:
    """Of a session by time there is no process."""
    return key == "pid" and value == 0


def _lines(path: str, follow: bool, caught_up: Callable[[], object] = bool) -> Iterator[bytes]:
    """Whole lines of a file; with `follow` also those to come, in the file that takes its place when it is rotated.

    `caught_up` is called each time when there is none for now, and more may come.
    """
    while True:
        try:
            if _is_no_log(path):
                return
            with open(path, "rb", opener=lambda name, _: OS.open_to_follow(name)) as file:
                yield from _whole_lines(file, path, follow, caught_up)
        except FileNotFoundError:
            if follow:
                caught_up()
                time.sleep(_POLL)
        if not follow:
            return


def _is_no_log(path: str) -> bool:
    """Whether something else is there. Without this, a FIFO in the log's place would hang us.

    What comes in between two looks, as just after a rotation, is a log.
    """
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        return os.path.islink(path)


def _whole_lines(file: BinaryIO, path: str, follow: bool, caught_up: Callable[[], object]) -> Iterator[bytes]:
    """Those of its end; the first of them may have been cut off. The memory that is used does not grow with the file."""
    rest, dropped = b"", _skip_to_the_tail(file)
    while True:
        replaced = follow and _replaced(path, file.fileno())
        if follow:
            file.seek(0, os.SEEK_CUR)  # C libraries may remember that the end was met: Wine's does.
        found = file.read(_CHUNK)
        *lines, rest = (rest + found).split(b"\n")
        if lines and dropped:
            lines, dropped = lines[1:], False
        yield from (line for line in lines if line)
        if len(rest) > _LONGEST:
            rest, dropped = b"", True
        if not found and (replaced or not follow):
            return
        if not found:
            caught_up()
            time.sleep(_POLL)


def _skip_to_the_tail(file: BinaryIO) -> bool:
    """Whether there was anything to skip."""
    size = os.fstat(file.fileno()).st_size
    if size <= _TAIL:
        return False
    file.seek(size - _TAIL)
    return True


def _replaced(path: str, fd: int) -> bool:
    try:
        return not os.path.samestat(os.stat(path), os.fstat(fd))
    except FileNotFoundError:
        return True
