"""`.ledger/.protocol.json`: which protocol a directory is written with, and how its generations are published.

Guarantees: a directory of another protocol is neither read nor written; one that cannot exclude is refused, with the
remedy; all who write in a directory do it in one way, whichever backend they were told to use: what contradicts the
stamp is refused. The stamp is made once, from what the directory was found able to do, and stays: `looop adopt` alone
gives it another guard, or none, in one step (see `restamping`, in the directory's backend).
How: the stamp is itself published as a generation is: by a hard link; where there are none it is renamed into place, under
the guard. A guard is tried when the stamp is made: one that does not keep a second holder out is none.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable

from looop_portable.errors import CannotExclude, Unavailable, UnknownProtocol, WrongBackend, because
from looop_portable.protocol.codec import decode, encode, number, text
from looop_portable.system.files import Files
from looop_portable.system.files.rooms import clear
from looop_portable.system.opening.hard_links import no_links
from looop_portable.system.opening.ours import DIRECTORY, STAMP, those
from looop_portable.system.opening.private import fresh, named
from looop_portable.typed import NamedTuple

PROTOCOL = 1

FLOCK = "flock"
"""The guard of all that share a directory with looop: flock(2) on `.dirlock`, beside the ledger."""

WINDOWS = "windows"
"""The guard among Windows processes, where there are no hard links: a byte range of `.guard`, in the ledger. One for all
names, as earlier versions hold it in the same directory."""

_GUARDS = ("", FLOCK, WINDOWS)
_TRIES = 16
NAME = ".protocol.json"
"""The stamp, in the directory that it is about."""

BACKEND = "backend"
"""Says in a stamp which backend has the claims of this directory, if they are not in files: see `backends.remembered`."""

ADDRESS = "address"
"""The address that it was first reached by, for people: without what is secret in it."""

_PRIVATE = ".stamp-"
_LONGEST = 100
"""Characters of a guard's or a backend's name: more is not told of it."""
_LONGEST_ADDRESS = 400


class Format(NamedTuple):
    """How generations are published: by hard links or, without, under a guard; and the guard, if there is one.

    `aliases`: a record may have several names. Linux mounts of SMB refuse to open a file by one name while it is open by
    another, by anybody on that host; there a record keeps one.
    """

    links: bool = True
    guard: str = ""
    aliases: bool = True

    @property
    def description(self) -> str:
        links = "with hard links" if self.links else "without hard links"
        return f"{links}, {f'guard: {self.guard}' if self.guard else 'without a guard'}"


class Policy(NamedTuple):
    """What a backend can do.

    `guard`: the guard of a directory that this backend makes. `without_links`: the guard where there are no hard links;
    None: it refuses such a directory. `holds`: the guards that it can hold in a directory of another backend's. `windows`:
    without hard links it publishes by renaming, and what it shows is a copy.
    """

    backend: str
    guard: str = ""
    without_links: str | None = None
    holds: tuple[str, ...] = ("", FLOCK)
    windows: bool = False


class Stamp:
    """The stamp of `root`. It is read once; who has seen it relies on it."""

    def __init__(self, root: str, files: Files, policy: Policy) -> None:
        self.root = root
        self._files = files
        self._policy = policy
        self._format: Format | None = None

    def known(self) -> Format | None:
        """What the stamp says; None: there is none. Raises `UnknownProtocol`, or `WrongBackend` if ours cannot do that."""
        if self._format is not None:
            return self._format
        with contextlib.suppress(FileNotFoundError):
            self._files.refuse_link(self.root)
        data = self._files.read(f"{self.root}/{NAME}")
        if data is None:
            return None
        self._format = self._read(data)
        return self._format

    def make(self) -> Format:
        """The stamp, made with its directory if missing. Raises `CannotExclude` where the backend cannot exclude."""
        for _ in range(_TRIES):
            fmt = self.known()
            if fmt is not None:
                return fmt
            self._publish()
        raise Unavailable(f"{self.root}: its stamp vanishes as often as it is written; try again", self.root)

    def guard_path(self, guard: str) -> str:
        """The file that a guard is held on. `.dirlock` is looop's name for it."""
        return f"{self.root.rpartition('/')[0]}/.dirlock" if guard == FLOCK else f"{self.root}/.guard"

    def sweep(self) -> int:
        """Remove the private stamps and directories of crashed processes."""
        try:
            with self._files.room(self.root, 1) as room:
                names = room.names()
                for name in those(names, DIRECTORY):
                    with contextlib.suppress(OSError):  # Its maker may have renamed it by now.
                        room.rmdir(name)
                return clear(room, those(names, STAMP))
        except FileNotFoundError:
            return 0

    def _publish(self) -> None:
        _make_directory(self._files, self.root)
        shared = self._files.shared_bits(self.root)
        if self._policy.guard:
            self.try_guard(self._policy.guard, shared)
        try:
            aliases = self._aliases()
        except FileNotFoundError:
            return  # A reaper has swept what it was tried with.
        try:
            private = self._write(Format(True, self._policy.guard, aliases), shared, self._files.link)
        except (FileExistsError, FileNotFoundError):
            return  # Another was faster, or all of it has been removed.
        except OSError as error:
            if not no_links(error):
                raise
            self._publish_without_links(because(error), shared)
        else:
            self._files.remove(private)

    def _aliases(self) -> bool:
        """Whether this host, and any other that is likely to come, can open a file by two names at once."""
        mount = self._files.mount_of(self.root)
        if mount and mount.smb:
            return False
        probe = f"{self.root}/{_PRIVATE}{self._files.nonce()}"
        try:
            self._files.create(f"{probe}-1", b"?")
            self._files.link(f"{probe}-1", f"{probe}-2")
            return self._files.opens_by_both(f"{probe}-1", f"{probe}-2")
        except OSError as error:
            if no_links(error):
                return False
            raise
        finally:
            for name in ("1", "2"):
                with contextlib.suppress(OSError):
                    self._files.remove(f"{probe}-{name}")

    def _publish_without_links(self, why: str, shared: int) -> None:
        guard = self._policy.without_links
        if guard is None:
            raise CannotExclude(
                f"{self.root}: this filesystem has no hard links ({why}), so the {self._policy.backend} backend cannot "
                "exclude here: use --backend auto or advisory, or choose a directory on another filesystem with --data-dir "
                "or LOOOP_DATA_DIR",
                self.root,
            )
        self.try_guard(guard, shared)
        with self._files.guard(self.guard_path(guard), shared=shared):
            if self.known() is None:
                self._write(Format(False, guard, False), shared, self._files.replace)

    def _write(self, fmt: Format, shared: int, name: Callable[[str, str], None]) -> str:
        """A stamp has its name, by `name`: its private path, which it may have besides."""

        def named_so(private: str) -> str:
            name(private, f"{self.root}/{NAME}")
            return private

        create = functools.partial(self._files.create, data=encode(self._record(fmt)), shared=shared, durable=True)
        return named(fresh(f"{self.root}/{_PRIVATE}", self._files.nonce), create, named_so, self._files.remove)

    def change(self, fmt: Format) -> None:
        """It says `fmt` from now on. For who has the directory for himself: see `restamping`."""
        self._write(fmt, self._files.shared_bits(self.root), self._files.replace)

    def _record(self, fmt: Format) -> dict[str, object]:
        return {"protocol": PROTOCOL, "links": fmt.links, "guard": fmt.guard or None, "aliases": fmt.aliases}

    def try_guard(self, guard: str, shared: int) -> None:
        """A filesystem that grants flock to everybody does not exclude: try the guard before the stamp relies on it."""
        path = self.guard_path(guard)
        refuse_local_guard(self._files, guard, path, stamped=False)
        try:
            excludes = self._files.guard_excludes(path, shared=shared)
        except OSError as error:
            why = because(error)
            raise CannotExclude(f"{path}: no guard can be held here ({why}): {_elsewhere(guard)}", path) from error
        if not excludes:
            raise CannotExclude(f"{path}: this filesystem grants a guard to everybody at once: {_elsewhere(guard)}", path)

    def _read(self, data: bytes) -> Format:
        """What a stamp says to us. Raises as `known`."""
        policy, fmt = self._policy, stamped(self.root, data)
        if fmt.guard in policy.holds if fmt.links else fmt.guard == policy.without_links:
            return fmt
        raise WrongBackend(
            f"{self.root}: the backend '{policy.backend}' contradicts the stamp of this directory ({fmt.description}): "
            f"{_way_out(policy, fmt)}",
            self.root,
        )


def refuse_local_guard(files: Files, guard: str, path: str, *, stamped: bool) -> None:
    """A host that mounts with `nolock` would ignore the guard of all the others: each host mounts for itself."""
    if guard != FLOCK:
        return
    mount = files.mount_of(path)
    if mount and mount.local_guard:
        way_out = "another directory there with --backend auto" if stamped else "--backend auto"
        raise CannotExclude(
            f"{path}: {mount.point} is mounted with '{mount.local_guard}', so this guard keeps out nobody on another host: "
            f"use {way_out}, which needs no guard where hard links work; or mount it without that option",
            path,
        )


def stamped(root: str, data: bytes) -> Format:
    """What a stamp says. Raises `UnknownProtocol` if it is of another protocol than ours.

    And `WrongBackend` if the claims of this directory are not in files at all.
    """
    record = decode(data)
    version, guard, (backend, address) = number(record, "protocol"), text(record, "guard")[:_LONGEST], elsewhere(record)
    if version == PROTOCOL and backend:
        word = address or backend
        raise WrongBackend(
            f"{root}: the claims of this directory are in the backend {describe(backend, address)} and not in files: use "
            f"--backend {word}, or LOOOP_BACKEND={word}, or another directory with --data-dir or LOOOP_DATA_DIR",
            root,
        )
    if version != PROTOCOL or guard not in _GUARDS:
        raise UnknownProtocol(
            f"{root}: written with protocol {version or 'unknown'}{f', guard {guard}' if guard else ''}, this is protocol "
            f"{PROTOCOL}: use the version of looop-portable that wrote it (see {NAME} there)",
            root,
        )
    return Format(record.get("links") is True, guard, record.get("aliases") is not False)


def elsewhere(record: dict[str, object]) -> tuple[str, str]:
    """In which backend a stamp says that the claims are, and by which address; empty: it says nothing of that."""
    return text(record, BACKEND)[:_LONGEST], text(record, ADDRESS)[:_LONGEST_ADDRESS]


def describe(backend: str, address: str) -> str:
    return f"'{backend}'{f' ({address})' if address else ''}"


def _way_out(policy: Policy, fmt: Format) -> str:
    if fmt.links and not fmt.guard:
        return (
            "it is used without a guard, so that what looop itself removes would not be noticed: use --backend auto, or "
            f"`looop adopt {policy.backend}` to share it with looop from now on"
        )
    if fmt.guard == WINDOWS:
        return "a Windows host made it where there are no hard links, and only those can hold its guard: use another one"
    if policy.backend == WINDOWS:
        return "its guard is flock, which Windows hosts cannot hold: use another directory on this host"
    return "use --backend auto or advisory"


def _elsewhere(guard: str) -> str:
    links = "use --backend auto, which needs none where hard links work, or " if guard == FLOCK else ""
    return f"{links}choose a directory on another filesystem with --data-dir or LOOOP_DATA_DIR"


def _make_directory(files: Files, directory: str) -> None:
    """`directory` and those above it, shared as the one above is."""
    above = directory.rpartition("/")[0] or "/"
    try:
        files.mkdir(directory, shared=files.shared_bits(above))
    except FileNotFoundError:
        _make_directory(files, above)
        files.mkdir(directory, shared=files.shared_bits(above))
