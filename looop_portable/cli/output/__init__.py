"""How the command speaks: words for people, or one JSON object a line."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Mapping

from looop_portable.errors import because
from looop_portable.protocol.liveness import Verdict
from looop_portable.protocol.names import printable
from looop_portable.protocol.outcomes import no_lease, no_verdict
from looop_portable.protocol.records import Lease
from looop_portable.system.opening.locales import UTF8, for_children, for_people
from looop_portable.typed import TextIO

Fields = Mapping[str, object]


class Unsaid(OSError):
    """What was to be said could not be said: a full disk, say. What was asked for may have been done."""


class Output:
    """What a verb says. A reader that has gone away (a closed pipe) is no error: the verb's exit code stands."""

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json
        self.verbose = 0
        self.quiet = False
        """Nothing is said but errors, and what whoever goes on has to know."""
        self.aside = False
        """Stdout is somebody else's: with --json too, everything is said on stderr."""
        self.unheard = False
        """The reader of stdout has gone away: whoever would go on for ever may stop."""
        self.hide: Callable[[str], str] = str
        """Takes a password out of a message that is made by others: an error's, or the name of a process."""

    def answer(self, verb: str, outcome: str, line: str, fields: Fields) -> None:
        """A result: `line` on stdout, if there is one; with --json an object."""
        if self.quiet:
            return
        self._say(sys.stderr if self.aside else sys.stdout, line, {"verb": verb, "outcome": outcome, **fields})

    def refusal(self, verb: str, outcome: str, line: str, fields: Fields, *, told_by_code: bool = True) -> None:
        """A result that is a no: `line` on stderr; with --json an object on stdout, as any other.

        `told_by_code`: the exit code tells as much to whoever asked for it before.
        """
        if self.quiet and told_by_code:
            return
        stream = sys.stdout if self.as_json and not self.aside else sys.stderr
        self._say(stream, line, {"verb": verb, "outcome": outcome, **fields})

    def error(self, code: str, message: str) -> None:
        """No result: one line on stderr; with --json an object on stdout."""
        stream, message = sys.stdout if self.as_json and not self.aside else sys.stderr, self.hide(message)
        self._say(stream, f"looop: {message}", {"outcome": "error", "code": code, "message": message})

    def hint(self, line: str) -> None:
        """More for people, on stderr. With --json the object has it already."""
        if not self.as_json and not self.quiet:
            self._write(sys.stderr, line)

    def trouble(self, line: str) -> None:
        """What is wrong, for people, on stderr, --quiet or not. With --json the object has it already."""
        if not self.as_json:
            self._write(sys.stderr, self.hide(line))

    def warn(self, line: str) -> None:
        """What whoever goes on has to know, on stderr, --json or not: no object has it."""
        self._write(sys.stderr, self.hide(line))

    def help(self, text: str) -> None:
        """A page on stderr, --json or not: somebody has called us without a verb."""
        self._put(sys.stderr, text)

    def detail(self, line: str) -> None:
        """What -v shows."""
        if self.verbose:
            self._write(sys.stderr, self.hide(line))

    def line(self, line: str) -> None:
        """This on stdout, --json or not."""
        if not self.quiet:
            self._write(sys.stdout, line)

    def end_line(self) -> None:
        """What comes next on the terminal stands on a line of its own."""
        self._put(sys.stderr, "")

    def exactly(self, text: str) -> None:
        """This on stdout, to the letter: it is for a shell, which gives it back as an argument, or in the environment."""
        if UTF8 or text.isascii() or sys.stdout is None:
            self._put(sys.stdout, text)
            return
        self._put(sys.stdout, "", before=os.fsencode(for_children(text)))

    def drawn(self, line: str) -> None:
        """A line on stdout as it is, whose words have been made `readable`, and have colours."""
        if not self.quiet:
            self._put(sys.stdout, line)

    def flush(self) -> None:
        """Raises OSError if something cannot be written; a closed pipe is no error."""
        for stream in (sys.stdout, sys.stderr):
            try:
                if stream:
                    stream.flush()
            except OSError as error:
                if not nobody_reads(error):
                    raise
                _discard(stream)

    def failed_to_say(self, reason: str) -> None:
        """The last word, when stdout cannot be written. What stderr does not take either is lost."""
        _discard(sys.stdout)
        try:
            self._put(sys.stderr, f"looop: the answer could not be written, what was asked for may be done: {reason}")
        except OSError:
            _discard(sys.stderr)

    def _say(self, stream: TextIO | None, line: str, fields: dict[str, object]) -> None:
        if self.as_json:
            said = {what: for_people(value) if isinstance(value, str) else value for what, value in fields.items()}
            import json

            self._put(stream, json.dumps(said))
        elif line:
            self._write(stream, line)

    def _write(self, stream: TextIO | None, line: str) -> None:
        self._put(stream, readable(line))

    def _put(self, stream: TextIO | None, text: str, before: bytes = b"") -> None:
        """`text` and a newline, in what the stream can encode. A stream that was closed before we began takes nothing."""
        if stream is None:
            return
        encoding = stream.encoding or "utf-8"
        try:
            if before:
                stream.buffer.write(before)
            stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
            stream.flush()
        except OSError as error:
            if not nobody_reads(error):
                raise Unsaid(error.errno, because(error)) from error
            self.unheard = self.unheard or stream is sys.stdout
            _discard(stream)


def nobody_reads(error: OSError) -> bool:
    """Whether it says that the reader of a pipe has gone away. On Windows the C library calls that an invalid argument.

    An error of Windows' own of that number, or one that names a path, is about something else.
    """
    if isinstance(error, BrokenPipeError):
        return True
    elsewhere = error.filename is not None or getattr(error, "winerror", None) is not None
    return sys.platform == "win32" and error.errno == errno.EINVAL and not elsewhere


def _discard(stream: TextIO | None) -> None:
    """Without this, Python complains of the closed pipe once more when it exits."""
    if stream is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def readable(text: str) -> str:
    """`text` for people: a path in it as text again, and nothing in it that a terminal would obey."""
    return printable(for_people(text))


def describe_sharing(lease: Lease) -> str:
    """Beside how many it is shared; empty: it is not."""
    others = len(lease.readers) - 1
    return "" if others < 0 else f", shared with {others} other{'s' * (others != 1)}"


def lease_fields(lease: Lease | None) -> dict[str, object]:
    """What --json says of a lease."""
    return no_lease() if lease is None else lease.as_dict()


def verdict_fields(verdict: Verdict | None) -> dict[str, object]:
    """What --json says of a session's liveness."""
    return no_verdict() if verdict is None else verdict.as_dict()
