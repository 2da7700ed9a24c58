"""How one generation gets its number on disk, in the way that the directory's stamp says.

Guarantees: exactly one of the processes that publish one number succeeds. The others have changed nothing that counts.
Does not guarantee: that the number is new: it may have been used and pruned long ago. `Ledger` looks again.
How: with hard links a complete private file is linked to the number. Without, and with the guard held, the number is
created in place or, on Windows, renamed to. None of these ever replaces.
Private files are called `.N-NONCE-ATTEMPT`. Any process may remove one: its maker, if it lives, makes another.
"""

from __future__ import annotations

import errno
import functools
from collections.abc import Callable

from looop_portable.errors import CannotExclude, because
from looop_portable.ledger.root import LedgerRoot
from looop_portable.ledger.stamp import Format
from looop_portable.protocol.codec import encode
from looop_portable.protocol.records import record_of
from looop_portable.system.files import Files
from looop_portable.system.opening.hard_links import no_links
from looop_portable.system.opening.private import named
from looop_portable.typed import TypeVar

_COPY = 64
"""From here on the attempts are numbered of what is a copy of a record that has been published."""

_T = TypeVar("_T")


class Publisher:
    """Publishes in one ledger. `durable`: what is published is on the disk. `make_directory`: see `Floors`."""

    def __init__(
        self, ledger_root: LedgerRoot, files: Files, durable: bool, make_directory: Callable[[str, int, int], None]
    ) -> None:
        self._root = ledger_root.root
        self._ledger_root = ledger_root
        self._files = files
        self._durable = durable
        self._make = make_directory

    def publish(self, key: str, target: int, nonce: str, data: bytes, stamped: Format) -> str | None:
        """Publish `data` as number `target`. None: lost. Else the private file that is one more name of it, or empty."""
        public = f"{self._root}/{key}/{target}"
        private: str | None
        try:
            if stamped.links:
                private = self._named(key, target, nonce, data, functools.partial(self._publish, [], public, data))
            elif self._ledger_root.policy.windows:
                private = self._named(key, target, nonce, data, functools.partial(self._rename, public, data))
            else:
                private = self._create(key, target, public, data)
        except FileExistsError:
            return None
        if not private or stamped.aliases:
            return private
        try:
            self._files.remove(private)
        except OSError:
            return ""  # It is published. The reaper removes the rest.
        return ""

    def show(self, key: str, target: int, nonce: str, data: bytes, private: str, shown_as: str, first: bool) -> None:
        """Rename `private`, or another copy of `data`, over `shown_as`. `first`: not over anything (FileExistsError).

        On Windows it is made a copy first, and is no name of the record any more. Without that, an editor that saves the
        projection in place would rewrite history: records are not read-only there, since nobody could remove such a file.
        """
        name = self._files.rename if first else self._files.replace
        if not private:
            self._named(key, target, nonce, data, lambda copy: name(copy, shown_as))
            return
        if self._ledger_root.policy.windows:
            self._named(key, target, nonce, data, lambda copy: self._files.replace(copy, private), attempts_from=_COPY)
        try:
            name(private, shown_as)
        except FileExistsError:
            self._files.remove(private)
            raise

    def link_own(self, own: str, public: str) -> bool:
        """One more name for a record. False: superseded, or gone."""
        try:
            self._files.link(own, public)
        except (FileExistsError, FileNotFoundError):
            return False  # Superseded, and if `expected` has even been pruned, long ago.
        except OSError:
            released = self._files.read(public)
            if released is None:
                raise
            return released == self._files.read(own)
        return True

    def publish_release(self, key: str, expected: int, target: int) -> bool:
        """A record of its own that says that `expected` was released. False: superseded."""
        if self._files.read(f"{self._root}/{key}/{expected}") is None:
            return False
        nonce = self._files.nonce()
        data = encode({**record_of(None), "generation": target, "token": nonce})
        return self.publish(key, target, nonce, data, self._ledger_root.make()) is not None

    def _named(
        self, key: str, target: int, nonce: str, data: bytes, name: Callable[[str], _T], *, attempts_from: int = 0
    ) -> _T:
        """What `name` gives of a private file with `data`."""
        begin = f"{self._root}/{key}/.{target}-{nonce}-"
        shared = self._ledger_root.shared()
        return named(
            lambda attempt: f"{begin}{attempts_from + attempt}",
            functools.partial(self._files.create, data=data, shared=shared, durable=self._durable),
            name,
            self._files.remove,
            make_room=functools.partial(self._make_directory, key, target, shared),
        )

    def _create(self, key: str, target: int, public: str, data: bytes) -> str | None:
        """In its place: there is no private file. None: what is there is not ours."""
        shared = self._ledger_root.shared()
        for again in (True, False):
            try:
                self._files.create(public, data, shared=shared, durable=self._durable)
            except FileNotFoundError:
                if not again:
                    raise
                self._make_directory(key, target, shared)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ESTALE):
                    raise
                return "" if self._files.read(public) == data else None
            else:
                break
        return ""

    def _make_directory(self, key: str, target: int, shared: int) -> None:
        """Raises FileNotFoundError where all of it has been removed since we looked: then it has to be looked at anew.

        And FileExistsError where `target` is none that a new directory begins with: the name has been pruned.
        """
        try:
            self._make(key, target, shared)
        except FileNotFoundError:
            self._ledger_root.start_anew()
            raise

    def _rename(self, public: str, data: bytes, private: str) -> str:
        """FileExistsError: it is not ours."""
        try:
            self._files.rename(private, public)
        except OSError:
            if self._files.read(public) != data:
                raise
        return ""

    def _publish(self, written: list[str], public: str, data: bytes, private: str) -> str:
        """`public` is ours now, by `private`, or another of the names that we have `written`. FileExistsError: it is not.

        After any error the deed may have been done and the reply lost, so what is published is compared with ours before
        anything is said. A machine that was resumed from the same snapshot may write the same bytes, its nonce included: so
        it has to be the same file, too, where that can be told.
        """
        written.append(private)
        try:
            self._files.link(private, public)
        except OSError as error:
            if self._files.read(public) == data and self._is_one_of(written, public):
                return private
            if no_links(error) and error.errno != errno.EACCES:  # That may be a mode which has been changed since.
                raise CannotExclude(
                    f"{self._root}: hard links fail here ({because(error)}), but its stamp says that they work: mount "
                    "it as the host does that made it, or use another directory with --data-dir or LOOOP_DATA_DIR",
                    self._root,
                ) from error
            raise
        return private

    def _is_one_of(self, written: list[str], public: str) -> bool:
        same = {self._files.is_same(private, public) for private in written}
        return True in same or False not in same
