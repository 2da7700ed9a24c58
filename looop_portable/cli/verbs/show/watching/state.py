"""What is shown of a live table, and in which order: what each key makes of it.

Pure: no terminal, no claim.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from looop_portable.typed import NamedTuple

ORDERS = ("name", "age", "session")
"""What `s` goes through."""
_WILD = "*?["

KEYS = (
    ("q", "quit"),
    ("/", "show only names that have these letters, or fit a pattern (*, ?, [abc]); Enter keeps it, Esc clears it"),
    ("s", "sort by the next: name, age, session"),
    ("r", "reverse the order"),
    ("d", "only those whose holder is dead; again: all"),
    ("h", "only those whose holder is alive, or may be; again: all"),
    ("up, down, PgUp, PgDn, Home, End", "scroll"),
    ("?", "show the keys, and back"),
    ("Ctrl-C, Ctrl-Z", "end, stop (`fg` goes on)"),
)
"""For people."""


class View(NamedTuple):
    """`life`: "dead", "held", or empty for all. `typing`: keys are letters of the filter. `top`: the first row shown."""

    sort: str = ORDERS[0]
    life: str = ""
    reverse: bool = False
    filter: str = ""
    typing: bool = False
    top: int = 0
    help: bool = False
    is_over: bool = False

    def shows(self, name: str) -> bool:
        """Whether the filter lets it through. One without `*`, `?` and `[` stands for all names that have it."""
        if any(letter in self.filter for letter in _WILD):
            return fnmatchcase(name, self.filter)
        return self.filter in name

    def within(self, rows: int, page: int) -> View:
        """The same, scrolled no further than to the last page of so many rows."""
        return self._replace(top=max(0, min(self.top, rows - page)))

    def pressed(self, key: str, rows: int, page: int) -> View:
        """After `key`, with so many rows, of which one page shows so many. What is no key of ours changes nothing."""
        if self.typing:
            return self._typed(key)
        if self.help:
            return self._replace(help=False, is_over=key == "q")
        if key in _MOVES:
            return self._replace(top=_moved(key, self.top, rows, page)).within(rows, page)
        return self._commanded(key)

    def _commanded(self, key: str) -> View:
        found = self
        match key:
            case "q":
                found = self._replace(is_over=True)
            case "?":
                found = self._replace(help=True)
            case "/":
                found = self._replace(typing=True, filter="", top=0)
            case "escape":
                found = self._replace(filter="", top=0)
            case "s":
                found = self._replace(sort=ORDERS[(ORDERS.index(self.sort) + 1) % len(ORDERS)], top=0)
            case "r":
                found = self._replace(reverse=not self.reverse, top=0)
            case "d" | "h":
                life = {"d": "dead", "h": "held"}[key]
                found = self._replace(life="" if self.life == life else life, top=0)
        return found

    def _typed(self, key: str) -> View:
        match key:
            case "enter":
                return self._replace(typing=False)
            case "escape":
                return self._replace(typing=False, filter="", top=0)
            case "backspace":
                return self._replace(filter=self.filter[:-1], top=0)
        return self._replace(filter=self.filter + key, top=0) if len(key) == 1 and key.isprintable() else self


_MOVES = ("up", "down", "pageup", "pagedown", "home", "end")


def _moved(key: str, top: int, rows: int, page: int) -> int:
    steps = {"up": -1, "down": 1, "pageup": -page, "pagedown": page, "home": -rows, "end": rows}
    return top + steps[key]
