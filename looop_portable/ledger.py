"""A name's generations on disk: `<root>/<name>/1`, `2`, `3`, ... Both claims and registrations are kept in one.

Guarantees: at most one process ever publishes a given generation; a generation is complete when it can be seen; numbers
only grow and are never used again; whoever dies at whatever instruction has either published or not.
Does not guarantee: durability. After a power cut the newest generations may be empty files or gone, unless `durable`.
How: the complete record is written to a private file, which is then linked (link(2), which never replaces) to the next
number. One listing afterwards makes sure that the number was new, and not one that had been used and pruned long ago. It
relies on a listing of some 20 names being one step, which getdents(2) under the directory's lock is.
Private files are called `.N-TOKEN`; whoever finds one may remove it: its maker, if it lives, makes another.
Source: exclusive creation as the one compare-and-set of all filesystems is folklore (open(2) on O_EXCL over NFS names
link); a log of numbered generations with a second look, and its proof, are in ARCHITECTURE.md.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping

from looop_portable.errors import CannotExclude, Unavailable, UnknownProtocol, because
from looop_portable.files import OS, Files
from looop_portable.lease import decode, encode, number

PROTOCOL = 1
KEEP = 16
"""How many of the newest generations stay. More than a listing can be behind; the explorer proves it with 2."""

_STAMP = ".protocol.json"
_TRIES = 64
_LAST = 10**15
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class Ledger:
    """The generations of all names under `root`. Records are JSON objects; `files` does what is done to the disk."""

    def __init__(self, root: str, files: Files = OS, keep: int = KEEP, durable: bool = False) -> None:
        self.root = root
        self.files = files
        self.keep = keep
        self.durable = durable
        self._shared: int | None = None
        self._looked_at: set[str] = set()

    def head(self, key: str) -> tuple[int, bytes]:
        """The latest generation of `key` and its record; (0, b"") if it has none."""
        directory = f"{self.root}/{key}"
        for _ in range(_TRIES):
            try:
                if key not in self._looked_at:
                    self.files.refuse_link(directory)
                    self._looked_at.add(key)
                top = _highest(self.files.list(directory))
            except FileNotFoundError:
                top = 0
            if not top:
                return 0, b""
            data = self.files.read(f"{directory}/{top}")
            if data is not None:
                return top, data
            # It has been pruned, or withdrawn, since it was listed. So there is a newer one to be seen.
        raise Unavailable(f"{directory}: generation {top} is listed and cannot be opened; try again", directory)

    def names(self) -> list[str]:
        """Every name that ever had a generation here."""
        try:
            return [name for name in self.files.list(self.root) if not name.startswith(".")]
        except FileNotFoundError:
            return []

    def advance(
        self, key: str, expected: int, record: Mapping[str, object], *, shown_as: str = "", hidden: str = ""
    ) -> bool:
        """Publish generation `expected` + 1. False: lost to another, and nothing has changed.

        `hidden` is a path that is removed when the record is complete and not yet published. `shown_as` is one that
        the record replaces once it is published; where that fails the generation stands all the same.
        """
        shared = self.shared()
        target = self._after(key, expected)
        token = self.files.token()
        public = f"{self.root}/{key}/{target}"
        data = encode({**record, "generation": target, "token": token})
        for attempt in range(_TRIES):
            private = f"{self.root}/{key}/.{target}-{token}-{attempt}"
            if not self._write(key, private, data, shared):
                continue
            if hidden:
                self.files.remove(hidden)
            published = self._publish(private, public, data)
            if published is not None:
                break
        else:
            raise Unavailable(f"{public}: its private files vanish as often as they are written; try again", public)
        won = published and self._stands(key, target)
        if won and shown_as:
            self._show(private, shown_as)
        else:
            self.files.remove(private)
        return won

    def repeat(self, key: str, expected: int, *, hidden: str = "") -> bool:
        """Publish generation `expected` + 1 as one more name of `expected`'s own record: so it says nothing new.

        A lease that stands under another number than its own is one that was let go. This needs no space on the disk:
        without it, nobody could release on a full one. Raises PermissionError where the record is another user's (see
        fs.protected_hardlinks in proc(5)).
        """
        self.shared()
        target = self._after(key, expected)
        if hidden:
            self.files.remove(hidden)
        try:
            self.files.link(f"{self.root}/{key}/{expected}", f"{self.root}/{key}/{target}")
        except (FileExistsError, FileNotFoundError):
            return False  # Superseded, and if `expected` has even been pruned, long ago.
        except OSError as error:
            if isinstance(error, PermissionError) or self.files.read(f"{self.root}/{key}/{target}") is None:
                raise
            return False  # Whose it is cannot be told; whoever reads again is told what it says.
        return self._stands(key, target)

    def sweep(self, key: str) -> int:
        """Remove what crashed processes left of `key`: private files, and generations that should have been pruned.

        How many there were. A process that lives and loses its private file by this makes another.
        """
        directory = f"{self.root}/{key}"
        names = self.files.list(directory)
        oldest = _highest(names) - self.keep
        useless = [name for name in names if name.startswith(".") or (name.isdecimal() and int(name) <= oldest)]
        return sum(self.files.remove(f"{directory}/{name}") for name in useless)

    def forget(self, key: str) -> None:
        """Remove all that is known of `key`. Only for a name that nobody will ever use again: its numbers restart."""
        directory = f"{self.root}/{key}"
        try:
            for name in self.files.list(directory):
                self.files.remove(f"{directory}/{name}")
            self.files.rmdir(directory)
        except FileNotFoundError:
            return

    def shared(self) -> int:
        """The permissions that new files share. The first call makes the directory and finds out that it can exclude."""
        if self._shared is None:
            stamp = self.files.read(f"{self.root}/{_STAMP}")
            if stamp is None:
                self._stamp()
            else:
                version = number(decode(stamp), "protocol")
                if version != PROTOCOL:
                    raise UnknownProtocol(
                        f"{self.root}: written with protocol {version or 'unknown'}, this is protocol {PROTOCOL}: "
                        f"use the version of looop-portable that wrote it (see {_STAMP} there)",
                        self.root,
                    )
            self._shared = self.files.shared_bits(self.root)
        return self._shared

    def unavailable(self) -> str | None:
        """Why nothing can be published here, and the remedy; None if it can. Makes the directory if there is none."""
        try:
            self.shared()
        except Unavailable as reason:
            return str(reason)
        except OSError as error:
            return f"{error.filename or self.root}: {because(error)}"
        return None

    def _write(self, key: str, private: str, data: bytes, shared: int) -> bool:
        """False: the name is taken. Only ever so by ourselves, after a lost reply, and then it may be incomplete."""
        for _ in range(2):
            try:
                self.files.create(private, data, shared=shared, durable=self.durable)
                return True
            except FileExistsError:
                return False
            except FileNotFoundError:
                self.files.mkdir(f"{self.root}/{key}", shared=shared)
        raise Unavailable(f"{self.root}/{key}: removed by others while it was in use; try again", self.root)

    def _publish(self, private: str, public: str, data: bytes) -> bool | None:
        """Whether `public` is ours; None: our private file has been swept away, nothing has happened.

        After any error the deed may have been done and the reply lost, so what is published is compared with ours
        (its token makes every record unique) before anything is said.
        """
        try:
            self.files.link(private, public)
        except OSError as error:
            if self.files.read(public) == data:
                return True
            if isinstance(error, FileExistsError):
                return False
            if isinstance(error, FileNotFoundError) or error.errno == errno.ESTALE:
                return None
            self.files.remove(private)
            raise
        return True

    def _stands(self, key: str, target: int) -> bool:
        """The second look, at a generation that we have just published, and then the pruning."""
        names = self.files.list(f"{self.root}/{key}")
        if self._superseded(target, names):
            self.files.remove(f"{self.root}/{key}/{target}")
            return False
        self._prune(key, target, names)
        return True

    def _superseded(self, target: int, names: list[str]) -> bool:
        """Without this, a number that was used and pruned while we slept would be won once more."""
        return _highest(names) > target

    def _show(self, private: str, shown_as: str) -> None:
        try:
            self.files.replace(private, shown_as)
        except OSError:
            # The generation is published: to fail now would deny a claim that is held. The reaper mends the rest.
            return

    def _prune(self, key: str, target: int, names: list[str]) -> None:
        """One comes, one goes. What a crash left below that, `sweep` removes."""
        old = str(target - self.keep)
        if old not in names:
            return
        try:
            self.files.remove(f"{self.root}/{key}/{old}")
        except OSError:
            # Another user's file in a sticky directory, say. It is only in the way.
            return

    def _after(self, key: str, expected: int) -> int:
        if expected >= _LAST:
            raise Unavailable(f"{self.root}/{key}: there are no numbers left after {expected}", f"{self.root}/{key}")
        return expected + 1

    def _stamp(self) -> None:
        """Probe hard links once, and leave word of it: the stamp is itself published by one."""
        private = f"{self.root}/.stamp-{self.files.token()}"
        _make(self.files, self.root)
        shared = self.files.shared_bits(self.root)
        self.files.create(private, encode({"protocol": PROTOCOL, "links": True}), shared=shared, durable=True)
        try:
            self.files.link(private, f"{self.root}/{_STAMP}")
        except FileExistsError:
            return
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            raise CannotExclude(
                f"{self.root}: this filesystem has no hard links ({because(error)}), so the posix backend cannot exclude "
                "here: choose a directory on another filesystem with --data-dir or LOOOP_DATA_DIR",
                self.root,
            ) from error
        finally:
            self.files.remove(private)


def _make(files: Files, directory: str) -> None:
    """`directory` and those above it."""
    try:
        files.mkdir(directory)
    except FileNotFoundError:
        _make(files, directory.rpartition("/")[0])
        files.mkdir(directory)


def _highest(names: list[str]) -> int:
    """The highest number among the names in a directory; what is not spelled as we spell numbers is none."""
    top = max(map(int, filter(str.isdecimal, names)), default=0)
    if top and str(top) not in names:
        return max((int(name) for name in names if name.isdecimal() and str(int(name)) == name), default=0)
    return top
