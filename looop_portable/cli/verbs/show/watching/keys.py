"""From what a terminal sends to keys: a letter, or a word for each of those that have none (`up`, `enter`).

Does not guarantee: that Escape is told from the beginning of another key, where what follows comes late.
"""

from __future__ import annotations

import codecs
import re

_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O[@-~])")
_BEGUN = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|O)?")
_NAMED = {
    **dict.fromkeys(("\x1b[A", "\x1bOA"), "up"),
    **dict.fromkeys(("\x1b[B", "\x1bOB"), "down"),
    "\x1b[5~": "pageup",
    "\x1b[6~": "pagedown",
    **dict.fromkeys(("\x1b[H", "\x1bOH", "\x1b[1~", "\x1b[7~"), "home"),
    **dict.fromkeys(("\x1b[F", "\x1bOF", "\x1b[4~", "\x1b[8~"), "end"),
    **dict.fromkeys(("\r", "\n"), "enter"),
    **dict.fromkeys(("\x7f", "\x08"), "backspace"),
    "\x03": "interrupt",
}


class Keys:
    """The keys of one terminal. `typed` is given what it sends, in the pieces in which it comes."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    @property
    def is_begun(self) -> bool:
        """Something has come that is Escape, or the beginning of another key."""
        return bool(self._rest)

    def typed(self, data: bytes) -> list[str]:
        """The keys that are whole now."""
        text, found, at = self._rest + self._decoder.decode(data), list[str](), 0
        self._rest = ""
        while at < len(text):
            sequence = _SEQUENCE.match(text, at)
            begun = _BEGUN.match(text, at)
            if sequence:
                found += [_NAMED[sequence[0]]] if sequence[0] in _NAMED else []
                at = sequence.end()
            elif begun and begun.end() == len(text):
                self._rest = text[at:]
                break
            else:
                found.append("escape" if text[at] == "\x1b" else _NAMED.get(text[at], text[at]))
                at += 1
        return found

    def nothing_more(self) -> list[str]:
        """What has begun is all that comes: Escape, and letters."""
        rest, self._rest = self._rest, ""
        return ["escape", *rest[1:]] if rest else []
