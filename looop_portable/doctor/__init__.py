"""The doctor: what a directory can do, by trying it.

Guarantees: what is said to work was seen to work, by a measure that does not trust the claims: see `probes`, `locks`,
`arbiter`, `meeting`. All of it happens in one private subdirectory, which is removed whatever happens: see `workshop`.
Does not guarantee: that two holders would have been seen: a race is a sample. Nor anything about a time when the
filesystem is in trouble (a partition, a server that restarts, a full disk).
"""

from __future__ import annotations

import os
import sys

from looop_portable.backends import SHIPPED, find, open_address, open_backend
from looop_portable.backends.remembered import is_remembered, root_in
from looop_portable.config import Chosen, recognized
from looop_portable.doctor import probes
from looop_portable.doctor.advice import Advice, advise, candidates
from looop_portable.doctor.findings import Filesystem, Findings, Race, Stamped
from looop_portable.doctor.hosts.meeting import Say, race_across
from looop_portable.doctor.race.arbiter import race
from looop_portable.doctor.synced import kept_by
from looop_portable.doctor.workshop import opened
from looop_portable.errors import UnknownProtocol, UsageError, WrongBackend, answering, describe_error, unavailable
from looop_portable.ledger.stamp import NAME as STAMP
from looop_portable.ledger.stamp import stamped
from looop_portable.system.files import OS
from looop_portable.system.mounts import mount_of
from looop_portable.system.opening.locales import as_given
from looop_portable.typed import NamedTuple

_READ_ONLY = "ro"
"""What was written to is not read-only, whatever the list of mounts says: of macOS's `/` it says so."""


class Report(NamedTuple):
    """What was found, and what follows from it."""

    findings: Findings
    advice: Advice


def _silently(_: str) -> None:
    return


def nearest(directory: str) -> str:
    """`directory`, or the nearest of its parents that is there. Raises `UsageError` if that is no directory."""
    here = directory
    while not os.path.lexists(here) and here != os.path.dirname(here):
        here = os.path.dirname(here)
    return existing(here)


def existing(directory: str) -> str:
    """The absolute path of a directory that must be there. Raises `UsageError`, or `Unavailable` if it cannot be told."""
    if "://" in directory:
        raise UsageError(
            "the directory is a URL (it is not repeated here, as it may hold a password): --backend goes before the verb"
        )
    try:
        directory = as_given(directory)
        if os.path.isdir(directory):
            return os.path.abspath(directory).replace(os.sep, "/")
        os.stat(directory)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{directory}: there is no such directory; make it first, or name its parent") from None
    except ValueError:
        raise UsageError(f"{directory!r}: this cannot be a directory") from None
    except OSError as error:
        raise unavailable(error, "cannot look") from error
    raise UsageError(f"{directory}: this is not a directory")


def examine(
    directory: str,
    *,
    backend: Chosen = "auto",
    processes: int = 4,
    seconds: float = 2.0,
    hosts: int = 0,
    timeout: float = 60.0,
    say: Say = _silently,
    announce: Say = _silently,
) -> Report:
    """Examine `directory`, which must be there. `backend`: race this one only.

    `hosts`: race with so many others (this one included), who must come within `timeout` seconds. `say` is told what is
    being done, `announce` whom it waits for. Raises `NoSuchBackend`, or `Unavailable` if nothing can be written there, or
    the other hosts do not come.
    """
    backend = recognized(backend)
    if isinstance(backend, str):
        find(backend)
    else:
        open_address(backend, directory)  # What is wrong with it is told once, and not by each racer.
    windows = sys.platform == "win32"
    filesystem = _filesystem(directory)
    with answering(f"cannot try anything in {directory}"), opened(directory) as shop:
        across = race_across(directory, backend, processes, seconds, hosts, timeout, announce) if hosts else None
        say("trying the filesystem's calls")
        room = shop.room("probes")
        primitives, measures = probes.try_all(room), probes.measure(room)
        races = []
        for candidate in candidates(backend, windows) if isinstance(backend, str) else (backend,):
            say(f"racing {processes} processes on {candidate} for {seconds:g} s")
            room = shop.room(f"race-{candidate if isinstance(candidate, str) else candidate.scheme}")
            races.append(_with_note(race(candidate, room, processes, seconds).race, room, directory))
    if filesystem.local_guard:
        alone = f"on this host alone: '{filesystem.local_guard}'"
        primitives = primitives._replace(
            flock=primitives.flock._replace(reason=primitives.flock.reason or alone),
            byte_range_lock=primitives.byte_range_lock._replace(reason=primitives.byte_range_lock.reason or alone),
        )
    filesystem = filesystem._replace(options=tuple(option for option in filesystem.options if option != _READ_ONLY))
    stamp = _stamp(directory, backend)
    if stamp and not stamp.unreadable and any(race.acquisitions for race in races):  # So it can be opened at all.
        stamp = stamp._replace(unreadable=_refused(directory, backend))
    findings = Findings(
        directory, filesystem, primitives, measures, tuple(races), stamp, across, str(backend), windows, kept_by(directory)
    )
    return Report(findings, advise(findings))


def _with_note(found: Race, room: str, directory: str) -> Race:
    """Its reasons name the directory that the user knows: the room is gone when they are read."""
    failures = tuple(failure.replace(room, directory) for failure in found.failures)
    return found._replace(refused=found.refused.replace(room, directory), failures=failures)


def _filesystem(directory: str) -> Filesystem:
    mount = mount_of(directory)
    if mount is None:
        return Filesystem()
    return Filesystem(mount.type, mount.source, mount.point, mount.options, mount.network, mount.local_guard)


def _stamp(directory: str, asked: Chosen) -> Stamped | None:
    """What the stamp of the claims in `directory` says; None: there are none. `asked`: the backend that is examined."""
    root = root_in(directory)
    try:
        data = OS.read(f"{root}/{STAMP}")
        if data is None:
            return None
        fmt = stamped(root, data)
    except NotADirectoryError:
        return None
    except (UnknownProtocol, WrongBackend) as error:
        mine = isinstance(error, WrongBackend) and is_remembered(asked, directory)
        return Stamped(backend=str(asked)) if mine else Stamped(unreadable=str(error))
    except OSError as error:
        return Stamped(unreadable=f"its stamp cannot be read: {describe_error(error)}")
    return Stamped(fmt.links, fmt.guard)


def _refused(directory: str, asked: Chosen) -> str:
    """Why a backend of others is refused where claims are in files, though it excludes; empty: it is not."""
    if isinstance(asked, str) and asked in SHIPPED:
        return ""  # What a stamp says of these is judged by what it says.
    try:
        open_backend(asked, directory).close()
    except WrongBackend as error:
        return str(error)
    return ""
