"""`claims/NAME.json`: the current lease, for people, for looop, and for `ls`.

Does not guarantee: that it is the truth. The ledger is; a crash, or a race with the reaper, can leave a projection that
is missing or old, until somebody mends it.
How: a lease is renamed over the projection after it is published. It is removed before its release is published. Either may
fail; the ledger counts. A projection without a generation was written by looop itself, and is a lease of looop's.
"""

from __future__ import annotations

from collections.abc import Callable

from looop_portable.errors import InvalidName
from looop_portable.ledger.ledger import Ledger
from looop_portable.ledger.recent import NOTHING as UNKNOWN
from looop_portable.protocol.codec import decode, number, text
from looop_portable.protocol.names import LONGEST, LONGEST_NAME, canonical, cut, looks_cut, spellings, unspelled
from looop_portable.protocol.records import Lease, lease_in
from looop_portable.system.clock import as_timestamp, elapsed
from looop_portable.system.files.rooms import clear
from looop_portable.system.opening.ours import GUARD, PROBE, those
from looop_portable.system.opening.private import fresh, put

SETTLES = 10.0
"""Seconds after which an empty file that looop made is taken for a crash's. Looop creates its lease, then writes it."""

_SLACK = 60.0
"""Seconds by which something is older than the boot at least: the clock may have been set a little since."""

_TRIES = 8
_SHORT = 34
"""Characters: so many are few enough bytes for any filesystem."""


class Projection:
    """The projections in `directory` of the generations in `ledger`."""

    def __init__(self, directory: str, ledger: Ledger) -> None:
        self.directory = directory
        self.ledger = ledger

    def path(self, key: str) -> str:
        """The path of the projection. In a directory shared with looop it is looop's spelling, if that can be stored.

        A name that could be our spelling of a longer name is an exception. The two would share a file, and to mend the
        projection of one would release the other.
        """
        if "%" not in key and len(key) <= _SHORT:
            return f"{self.directory}/{key}.json"  # As most are: it is its own spelling everywhere.
        name = unspelled(key, once=True) if self.is_looops_home() else None
        stem = cut(name, name) if name and looks_cut(name) else name or key
        if len(stem) > _SHORT and not self._can_be_shown(stem):
            stem = cut(f"/{stem}", stem)  # The slash: this must be no name's spelling.
        return f"{self.directory}/{stem}.json"

    def foreign(self, key: str, name: str, generation: int) -> Lease | None:
        """The lease that looop itself wrote, if there is one, on top of `generation`.

        Not settled: still empty, and too young to be debris.
        """
        found = self._foreign(self.path(key), name, generation)
        if found is None and len(key) > _SHORT:
            others = (self._foreign(path, name, generation) for path in self._others(key, name))
            return next((lease for lease in others if lease), None)
        return found

    def _foreign(self, path: str, name: str, generation: int) -> Lease | None:
        data = self.ledger.files.read(path)
        if data is None:
            return None
        record = decode(data)
        if number(record, "generation"):
            return None
        settled = bool(data)
        if not settled:
            age = self.ledger.files.age(path)
            settled = age is not None and abs(age) > SETTLES
        since = claimed_at(record)
        return Lease(name, text(record, "session"), "", generation, since, foreign=True, settled=settled)

    def shows_what_was_published(self, path: str, key: str, generation: int) -> bool:
        """Whether `path`, the projection of `key`, is the record that this process published as `generation`."""
        published, data = self.ledger.recent.get(key, UNKNOWN).published
        try:
            return published == generation and self.ledger.files.read(path) == data
        except OSError:
            return False

    def hide(self, path: str, key: str, *, is_ours: bool) -> None:
        """Before a release: remove `path`, the projection of `key`, unless it is not ours.

        `is_ours`: it is known to be ours. A projection that cannot be removed must not prevent the release.
        """
        try:
            if not is_ours:
                shown = self.ledger.files.read(path)
                if is_looops(shown) or _is_strange(shown):
                    return
            self.ledger.files.remove(path)
            if len(key) > _SHORT:
                for left in self._others(key, ""):  # A version before 0.2 has shown it there.
                    found = self.ledger.files.read(left)
                    if not is_looops(found) and not _is_strange(found):
                        self.ledger.files.remove(left)
        except OSError:
            return

    def remove_looops(self, key: str, name: str) -> None:
        """Remove a lease of looop's, if there is one. Raises OSError: as long as it is there, it holds."""
        for path in (self.path(key), *(self._others(key, name) if len(key) > _SHORT else ())):
            if is_looops(self.ledger.files.read(path)):
                self.ledger.files.remove(path)

    def foreign_names(self) -> dict[str, str]:
        """The names of all files here that may be leases, by their spelling in the ledger."""
        try:
            names = self.ledger.files.list(f"{self.directory}/.")  # The dot: `claims` itself may be a link of the user's.
        except FileNotFoundError:
            return {}
        stems = [name[:-5] for name in names if name.endswith(".json")]
        if self.is_looops_home():
            found = [_canonical(stem) for stem in stems if not looks_cut(stem)]
        else:
            found = [unspelled(stem, once=True) for stem in stems]
        return {self.ledger.spelling.key(name): name for name in found if name}

    def shows_looops(self, key: str, name: str) -> bool:
        """Whether what is there is a lease of looop's, to the letter."""
        data = self.ledger.files.read(self.path(key))
        return is_looops(data) and text(decode(data or b""), "name") == name

    def has_looops(self) -> bool:
        """Whether there is any."""
        return any(self.shows_looops(key, name) for key, name in self.foreign_names().items())

    def is_strange(self, key: str) -> bool:
        """Whether what is there is somebody else's file."""
        return _is_strange(self.ledger.files.read(self.path(key)))

    def sweep(self) -> int:
        """Remove the probes and private guards that crashed processes left. How many there were."""
        with self.ledger.files.room(self.directory, 0) as room:
            return clear(room, those(room.names(), PROBE, GUARD))

    def mend(self, key: str) -> bool:
        """Bring the projection in step with the ledger. Whether there was anything to do.

        The ledger is read again after each change: another process may have moved it meanwhile.
        """
        changed = False
        for _ in range(_TRIES):
            generation, data = self.ledger.head(key)
            lease = lease_in(data, key, generation) if generation else None
            held = lease is not None and bool(lease.session)  # Debris is not worth showing.
            shown = self.ledger.files.read(self.path(key))
            if shown == (data if held else None):
                return changed
            if is_looops(shown) or (not held and (shown == b"" or _is_strange(shown))):
                return changed
            if not held:
                self.ledger.files.remove(self.path(key))
            else:
                private = fresh(f"{self.ledger.root}/{key}/.{generation}-", self.ledger.files.nonce)
                put(self.ledger.files, self.path(key), data, private, shared=self.ledger.ledger_root.shared())
            changed = True
        return changed

    def shown(self, lease: Lease, disk: Callable[[], str]) -> Lease | None:
        """See `Directory.shown`. `disk` tells the local disk that this is on: see `Signs.disk`."""
        key = self.ledger.spelling.key(lease.name)
        path = f"{self.ledger.root}/{key}/{lease.generation}"
        data, shown = self.ledger.files.read(path), self.ledger.files.read(self.path(key))
        if shown is None or data is None:
            return None
        known = lease_in(shown, lease.name, lease.generation)
        if known and known.session:
            return known
        return None if shown != data or self._is_of_before_the_boot(path, data, disk) else lease

    def _is_of_before_the_boot(self, path: str, data: bytes, disk: Callable[[], str]) -> bool:
        """Whether nobody who lives can have written it: this kernel alone has the disk."""
        if data.strip(b"\0") or not disk():
            return False
        age = self.ledger.files.age(path)
        return age is not None and age > elapsed() + _SLACK

    def is_looops_home(self) -> bool:
        """Whether the directory was made to be shared with looop."""
        return self.ledger.spelling.is_looops_home()

    def _can_be_shown(self, stem: str) -> bool:
        size = len(stem.encode(errors="surrogateescape"))
        if size < LONGEST:
            return True
        # What is longer was spelled so before 0.2, or by looop: they look for it there.
        return self.ledger.spelling.can_be_shown(stem) if self.is_looops_home() else size > LONGEST

    def _others(self, key: str, name: str) -> list[str]:
        """The paths where looop, or a version before 0.2, would show a long name, if those differ from ours."""
        stems = [stem for stem in (key, spellings(name)[1] if name else "") if stem]
        stems = [stem for stem in stems if self.ledger.spelling.can_be_shown(stem)]
        return [path for stem in stems if (path := f"{self.directory}/{stem}.json") != self.path(key)]


def _canonical(stem: str) -> str | None:
    try:
        return canonical(stem)
    except InvalidName:
        return None


def _is_strange(data: bytes | None) -> bool:
    """Whether this is neither a lease, of ours or of looop's, nor half of one, nor what a power cut leaves of one."""
    rest = (data or b"").strip(b"\0 \r\n")
    record = decode(rest)
    if record:
        return not (text(record, "session") and (text(record, "name") or number(record, "generation")))
    return bool(rest) and not (rest.startswith(b"{") and not rest.endswith(b"}"))


def is_looops(data: bytes | None) -> bool:
    """Whether this is a lease that looop itself has written."""
    record = decode(data or b"")
    return 0 < len(text(record, "session")) <= LONGEST_NAME and not number(record, "generation")


def claimed_at(record: dict[str, object]) -> str:
    """Since when a lease of looop's is held, as ours say it. Looop before 1.0 does not say it: empty."""
    return as_timestamp(number(record, "ts"))
