"""How one generation gets its number on disk, in the way that the directory's stamp says.

Guarantees: exactly one of the processes that publish one number succeeds. The others have changed nothing that counts.
Does not guarantee: that the number is new: it may have been used and pruned long ago. `Ledger` looks again.
How: with hard links a complete private file is linked to the number. Without, and with the guard held, the number is
created in place or, on Windows, renamed to. None of these ever replaces.
Private files are called `.N-NONCE-ATTEMPT`. Any process may remove one: its maker, if it lives, makes another.
"""

from __future__ import annotations

import errno

from looop_portable.errors import CannotExclude, Unavailable, because
from looop_portable.ledger.root import LedgerRoot
from looop_portable.ledger.stamp import Format
from looop_portable.protocol.lease import encode, record_of
from looop_portable.system.files import Files
from looop_portable.system.opening.hard_links import no_links

_TRIES = 64


class Publisher:
    """Publishes in one ledger. `durable`: what is published is on the disk."""

    def __init__(self, ledger_root: LedgerRoot, files: Files, durable: bool) -> None:
        self._root = ledger_root.root
        self._ledger_root = ledger_root
        self._files = files
        self._durable = durable

    def publish(self, key: str, target: int, nonce: str, data: bytes, stamped: Format) -> str | None:
        """Publish `data` as number `target`. None: lost. Else the private file that is one more name of it, or empty."""
        publish = self._publish_linked if stamped.links else self._publish_alone
        private = publish(key, target, nonce, data, self._ledger_root.shared())
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
        if private and self._ledger_root.policy.windows:
            self._files.detach(private, self._private(key, target, nonce, _TRIES), data, shared=self._ledger_root.shared())
        if not private:
            private = self._private(key, target, nonce, 0)
            self._write(key, private, data, self._ledger_root.shared())
        if not first:
            self._files.replace(private, shown_as)
            return
        try:
            self._files.rename(private, shown_as)
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

    def _publish_linked(self, key: str, target: int, nonce: str, data: bytes, shared: int) -> str | None:
        """The private file that is published now; None: lost, and it is gone."""
        public = f"{self._root}/{key}/{target}"
        written: list[str] = []
        for attempt in range(_TRIES):
            private = self._private(key, target, nonce, attempt)
            if not self._write(key, private, data, shared):
                continue
            written.append(private)
            published = self._publish(written, public, data)
            if published is False:
                self._files.remove(private)
            if published is not None:
                return private if published else None
        raise Unavailable(f"{public}: its private files vanish as often as they are written; try again", public)

    def _publish_alone(self, key: str, target: int, nonce: str, data: bytes, shared: int) -> str | None:
        """Without hard links, and with the guard held. There is no private file left: empty; None: lost."""
        public = f"{self._root}/{key}/{target}"
        if not self._ledger_root.policy.windows:
            return "" if self._write(key, public, data, shared) or self._files.read(public) == data else None
        private = self._private(key, target, nonce, 0)
        self._write(key, private, data, shared)
        try:
            self._files.rename(private, public)
        except OSError as error:
            if self._files.read(public) == data:
                return ""
            self._files.remove(private)
            if isinstance(error, FileExistsError):
                return None
            raise
        return ""

    def _write(self, key: str, private: str, data: bytes, shared: int) -> bool:
        """False: try another name. This one is taken, by ourselves, after a lost reply, and may be incomplete; or it was
        swept by a reaper on another host while it was being written, of which NFS 3 tells when it is closed.
        """
        for _ in range(2):
            try:
                self._files.create(private, data, shared=shared, durable=self._durable)
                return True
            except FileExistsError:
                return False
            except FileNotFoundError:
                self._make_directory(key, shared)
            except OSError as error:
                if error.errno != errno.ESTALE:
                    raise
                return False
        raise Unavailable(f"{self._root}/{key}: removed by others while it was in use; try again", self._root)

    def _make_directory(self, key: str, shared: int) -> None:
        """Raises FileNotFoundError where all of it has been removed since we looked: then it has to be looked at anew."""
        try:
            self._files.mkdir(f"{self._root}/{key}", shared=shared)
        except FileNotFoundError:
            self._ledger_root.start_anew()
            raise

    def _publish(self, written: list[str], public: str, data: bytes) -> bool | None:
        """Whether `public` is ours, by one of the names that we have `written`; None: the last of them has been swept away,
        and nothing has happened.

        After any error the deed may have been done and the reply lost, so what is published is compared with ours before
        anything is said. A machine that was resumed from the same snapshot may write the same bytes, its nonce included: so
        it has to be the same file, too, where that can be told.
        """
        private = written[-1]
        try:
            self._files.link(private, public)
        except OSError as error:
            if self._files.read(public) == data and self._is_one_of(written, public):
                return True
            if isinstance(error, FileExistsError):
                return False
            if isinstance(error, FileNotFoundError) or error.errno == errno.ESTALE:
                return None
            self._files.remove(private)
            if no_links(error) and error.errno != errno.EACCES:  # That may be a mode which has been changed since.
                raise CannotExclude(
                    f"{self._root}: hard links fail here ({because(error)}), but its stamp says that they work: mount "
                    "it as the host does that made it, or use another directory with --data-dir or LOOOP_DATA_DIR",
                    self._root,
                ) from error
            raise
        return True

    def _is_one_of(self, written: list[str], public: str) -> bool:
        same = {self._files.is_same(private, public) for private in written}
        return True in same or False not in same

    def _private(self, key: str, target: int, nonce: str, attempt: int) -> str:
        return f"{self._root}/{key}/.{target}-{nonce}-{attempt}"
