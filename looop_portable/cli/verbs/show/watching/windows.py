"""The keys of a console.

Does not guarantee: that a key is seen at once: the console is asked twenty times a second. How large it is is asked for at
each drawing.
"""

from __future__ import annotations

import msvcrt
import sys

from looop_portable.cli.verbs.show.watching.keyboard import NoKeyboard
from looop_portable.system.clock import elapsed

assert sys.platform == "win32"

_POLL = 0.05
"""Seconds."""
_SPECIAL = ("\x00", "\xe0")
_NAMED = {"H": "up", "P": "down", "I": "pageup", "Q": "pagedown", "G": "home", "O": "end"}
_LETTERS = {"\r": "enter", "\x08": "backspace", "\x1b": "escape", "\x03": "interrupt"}


class WindowsKeyboard(NoKeyboard):
    """It changes nothing of the console, so there is nothing to be given back."""

    def wait(self, seconds: float) -> list[str]:
        ends = elapsed() + seconds
        while not (keys := self._pressed()):
            left = ends - elapsed()
            if left <= 0 or self._woken.wait(min(left, _POLL)):
                break
        self._woken.clear()
        return keys

    def _pressed(self) -> list[str]:
        keys = list[str]()
        while msvcrt.kbhit():
            letter = msvcrt.getwch()
            if letter in _SPECIAL:
                keys.append(_NAMED.get(msvcrt.getwch(), "unknown"))
            else:
                keys.append(_LETTERS.get(letter, letter))
        return keys
