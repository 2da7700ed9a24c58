"""`events`."""

from __future__ import annotations

import gc
import json
import os
import stat
import time
from collections.abc import Iterator
from typing import BinaryIO

import click

from looop_portable.claims.events import CAP
from looop_portable.cli.root import Setting
from looop_portable.cli.verb import Verb
from looop_portable.protocol.codec import decode
from looop_portable.system.files import OS

_POLL = 0.2
"""Seconds from one look at the log to the next: it may be on a network, where no news is heard."""
_TAIL = 2 * CAP
"""Bytes of a log that are looked at: it is renamed when it has half of them, so more of it is not ours."""
_CHUNK = 1 << 16
_LONGEST = 1 << 20
"""Bytes of a line: a longer one is no event, and is not kept in memory."""


@click.command(cls=Verb, short_help="Print what happened to claims.")
@click.option("--follow", is_flag=True, help="Wait for more, until interrupted.")
@click.pass_obj
def events(out: Setting, follow: bool) -> int:
    """Print what happened to claims, oldest first: the event log and the one before it.

    Lines that are no events are left out; of a log that is longer than 16 MiB, which none of ours is, so is its beginning.
    """
    path = out.config.events
    if follow:
        gc.enable()
    for name in (f"{path}.1", path):
        for line in _lines(name, follow and name == path):
            _print(out, line)
            if out.unheard:
                return 0
    return 0


def _print(out: Setting, line: bytes) -> None:
    event = decode(line)
    if not event:
        return  # Half of one: its writer has crashed.
    if out.as_json:
        out.line(json.dumps(event))
        return
    known = ("ts", "event", "claim")
    lines = [str(event.get(key, "-")) for key in known]
    lines += [f"{key}={value}" for key, value in event.items() if key not in known]
    out.line("  ".join(lines))


def _lines(path: str, follow: bool) -> Iterator[bytes]:
    """Whole lines of a file; with `follow` also those to come, in the file that takes its place when it is rotated."""
    while True:
        try:
            if _is_no_log(path):
                return
            with open(path, "rb", opener=lambda name, _: OS.open_to_follow(name)) as file:
                yield from _whole_lines(file, path, follow)
        except FileNotFoundError:
            if follow:
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


def _whole_lines(file: BinaryIO, path: str, follow: bool) -> Iterator[bytes]:
    """Those of its end; the first of them may have been cut off. The memory that is used does not grow with the file."""
    rest, dropped = b"", _skip_to_the_tail(file)
    while True:
        replaced = follow and _replaced(path, file.fileno())
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
            time.sleep(_POLL)
            file.seek(0, os.SEEK_CUR)  # C libraries may remember that the end was met: Wine's does.


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
