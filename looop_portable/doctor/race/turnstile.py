"""Counting turns on a share, so that two hosts which are inside at once see it: the oracle of `meeting`.

Guarantees: whoever comes in while another is inside is told so; each turn has a number that nobody else has. Neither the
hosts' clocks nor their caches have a say: an old listing costs tries, and never an answer.
Does not guarantee: anything where exclusive creation does not let one win; `tally` notices that, by numbers that occur
twice. Nor the truth about one who dies inside: he counts as still being there.
How: turn N begins with the exclusive creation of `N.in`, and ends with that of `N.out`. Whoever comes in finds the last
turn by listing; if he can create its `.out`, nobody has, and so somebody is inside. Names are never used again, as network
filesystems remember what they were.
"""

from __future__ import annotations

import os

from looop_portable.system.files import OS

LIMIT = 2000
"""Turns. Listings grow with them."""


class Turnstile:
    """The turnstile in `directory`, which is there, for one process."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._last = 0

    @property
    def full(self) -> bool:
        return self._last >= LIMIT

    def enter(self) -> tuple[int, bool]:
        """The number of this turn, and whether nobody else is inside."""
        names = OS.list(self._directory)
        numbers = [int(name[:-3]) for name in names if name.endswith(".in")]
        number = max([*numbers, self._last])
        alone = True
        while True:
            if number and f"{number}.out" not in names and self._create(f"{number}.out"):
                alone = False
            number += 1
            if self._create(f"{number}.in"):
                self._last = number
                return number, alone

    def leave(self, number: int) -> None:
        """The turn is over. If somebody has come in meanwhile, he has said so."""
        self._create(f"{number}.out")

    def _create(self, name: str) -> bool:
        """Whether we made it; also if the reply was lost, and a second try found it."""
        path, mine = f"{self._directory}/{name}", os.urandom(8).hex().encode()
        try:
            OS.create(path, mine)
        except FileExistsError:
            return OS.read(path) == mine
        return True
