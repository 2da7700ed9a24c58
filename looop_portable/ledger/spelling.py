"""How a directory spells a name: mostly as `names` does, but for long ones which it has had since before 0.2.

Guarantees: all processes of all versions spell one name in one way there, at any time; no generation is lost.
Does not guarantee: that a version before 0.2 can use a long name which a later one has made: it is refused ("Not a
directory").
How: a long name has two spellings. Only versions before 0.2 make a directory for the longer one. Nobody ever removes that
directory (ids that were made up are removed, but are short), so all use it where it exists. The first publisher of a name
without one creates a *file* of the longer spelling, exclusively. Then it makes a directory for the shorter one. So the
longer spelling is a directory, or a file, or cannot be stored, and stays that. Two processes of this version never
disagree: neither makes such a directory, and both look before they publish. An older version finds a file there, and can
make no directory.
Where the ledger was made to be shared with looop, names are spelled as looop spells them, if they can be stored so.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterable, Iterator

from looop_portable.errors import InvalidName, LooopError
from looop_portable.ledger.root import LedgerRoot
from looop_portable.ledger.stamp import FLOCK
from looop_portable.protocol.codec import decode, text
from looop_portable.protocol.names import LONGEST, ONCE_LONGEST, canonical, spellings, unspelled
from looop_portable.system.files import Files

NOT_STORED = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ)
"""How a filesystem answers to a name that is too long for it."""

_FENCE = b'{"moved": true}\n'


class Spelling:
    """Of the names in the ledger at `ledger_root`."""

    def __init__(self, ledger_root: LedgerRoot, files: Files) -> None:
        self._ledger_root = ledger_root
        self._files = files

    def key(self, name: str) -> str:
        """How a canonical name is spelled here."""
        now, once = spellings(name)
        return once if once and self._is_used(once) else now

    def settle(self, name: str) -> str:
        """As `key`, before publishing: from then on no process spells the name in another way."""
        now, once = spellings(name)
        if not once:
            return now
        for again in (True, False):
            shared = self._ledger_root.shared()  # From here on it is certain who is at home.
            if self.is_looops_home():
                return self.key(name)
            try:
                self._files.create(f"{self._ledger_root.root}/{once}", _FENCE, shared=shared)
            except FileExistsError:
                return self.key(name)
            except FileNotFoundError:  # All of it has been removed since we looked; or Windows, of a path that is too long.
                self._ledger_root.start_anew()
                if again:
                    continue
            except OSError as error:
                if error.errno not in NOT_STORED:
                    raise
            break
        return now

    def is_none(self, file_name: str) -> bool:
        """Whether this name in the ledger's directory is no spelling: a file, by which older versions are kept out."""
        return len(file_name.encode(errors="surrogateescape")) > LONGEST and not self._is_directory(file_name)

    def is_looops_home(self) -> bool:
        """Whether the directory was made to be shared with looop."""
        stamped = self._ledger_root.format()
        return stamped is not None and stamped.links and stamped.guard == FLOCK

    def can_be_shown(self, stem: str) -> bool:
        """Whether a file of this name, and `.json`, can be stored here."""
        return self._is_stored(f"{stem}.json")

    def _is_used(self, once: str) -> bool:
        return self.can_be_shown(once) if self.is_looops_home() else self._is_directory(once)

    def _is_directory(self, name: str) -> bool:
        try:
            self._files.list(f"{self._ledger_root.root}/{name}")
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            if error.errno in NOT_STORED:
                return False
            raise
        return True

    def _is_stored(self, name: str) -> bool:
        try:
            self._files.read(f"{self._ledger_root.root}/{name}")
        except OSError as error:
            if error.errno in NOT_STORED:
                return False
            raise
        return True


def that_say(said: bytes, keys: Iterable[str], record: Callable[[str], bytes]) -> Iterator[str]:
    """The names, spelled `keys`, whose `record` has `said` in it, or cannot be read: who reads that by name is told why."""
    for key in keys:
        data: bytes | None = None
        with contextlib.suppress(OSError, LooopError):
            data = record(key)
        if data is None or said in data:
            name = unspelled(key, once=True) or recorded(key, data or b"", "name")
            if name:
                yield name


def recorded(key: str, data: bytes, field: str) -> str | None:
    """A name that is too long to be told from its spelling `key`; what a record says is taken only if it is spelled so."""
    name = text(decode(data), field)
    try:
        return name if canonical(name, longest=ONCE_LONGEST) == name and key in spellings(name) else None
    except InvalidName:
        return None
