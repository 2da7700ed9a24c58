"""The terminal's second screen, on which a live table is drawn, by rich.

Guarantees: `leave` shows what was there before, with its cursor. It may be called twice, and where the terminal has gone.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence

from rich.console import Console, Group
from rich.text import Text

from looop_portable.cli.output.tables import TONES, coloured, ellipsis_of
from looop_portable.cli.verbs.show.watching.drawing import Paper

_USUAL = (80, 24)


class Screen:
    """That of the terminal on stdout."""

    def __init__(self) -> None:
        tones = coloured(sys.stdout)
        self._console = Console(file=sys.stdout, highlight=False, no_color=not tones, force_terminal=True)
        self._tones = TONES if tones else {}
        self._is_entered = False

    def paper(self) -> Paper:
        """As large as the terminal is now, whatever COLUMNS says: it may have been resized since."""
        try:
            width, height = os.get_terminal_size(sys.stdout.fileno())
        except OSError:
            width, height = 0, 0
        return Paper(width or _USUAL[0], height or _USUAL[1], self._tones, ellipsis_of(sys.stdout))

    def enter(self) -> None:
        self._is_entered = True
        self._console.set_alt_screen(True)
        self._console.show_cursor(False)

    def draw(self, lines: Sequence[str], paper: Paper) -> None:
        self._console.size = (paper.width, paper.height)
        encoding = sys.stdout.encoding or "utf-8"
        said = (line.encode(encoding, "backslashreplace").decode(encoding) for line in lines)
        self._console.update_screen(
            Group(*(Text.from_ansi(line, no_wrap=True, overflow="crop", end="\n") for line in said))
        )

    def leave(self) -> None:
        if self._is_entered:
            with contextlib.suppress(OSError):
                self._console.show_cursor(True)
                self._console.set_alt_screen(False)
            self._is_entered = False
