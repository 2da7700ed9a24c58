"""What could not be answered, and why.

Expected results (held by another, refused, superseded) are values: see `outcomes`. An exception from this package
means that there is no answer, and every one of them is a `LooopError`. Messages are one line, for people: what happened,
to what, and what to do.
"""

from __future__ import annotations

import errno

__all__ = [
    "BackendNotInstalled",
    "CannotExclude",
    "ClaimHeld",
    "ClaimLost",
    "InvalidName",
    "LooopError",
    "NoSession",
    "NoSuchBackend",
    "NoSuchProcess",
    "NotEnded",
    "SessionAlive",
    "SessionEnded",
    "Settling",
    "Unavailable",
    "UnknownProtocol",
    "UsageError",
    "WaitCancelled",
    "WaitedTooLong",
    "WrongBackend",
]


def _again(kind: type[BaseException], arguments: tuple[object, ...]) -> BaseException:
    """An error as it was raised. Its constructor is not called: it may take other arguments than the message."""
    error = kind.__new__(kind)
    error.args = arguments
    return error


class LooopError(Exception):
    """The root of every error that this package raises. It can be copied and pickled, with its fields and its notes."""

    code = "error"

    def __reduce__(self) -> tuple[object, ...]:
        return _again, (type(self), self.args), self.__dict__


class UsageError(LooopError, ValueError):
    """What was asked for makes no sense, whatever the store holds."""

    code = "usage"


class InvalidName(UsageError):
    """A claim name or a session id that cannot be one."""

    code = "invalid_name"


class NoSession(UsageError):
    """Nobody was named to act for."""

    code = "no_session"


class SessionEnded(UsageError):
    """A session that was registered and is over was to claim: nothing would protect what it holds."""

    code = "session_ended"


class NoSuchBackend(UsageError):
    """No backend of that name ships with the package or is installed."""

    code = "no_such_backend"


class BackendNotInstalled(UsageError):
    """A backend that is a distribution of its own, which is not there."""

    code = "not_installed"


class NoSuchProcess(UsageError):
    """A session was to be registered for a process that does not run."""

    code = "no_such_process"


class Unavailable(LooopError):
    """The store could not answer. Nothing is known to have changed, and nobody may take this for a yes or a no.

    `path` is the file or directory it is about, where there is one.
    """

    code = "unavailable"

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class NotEnded(Unavailable):
    """What a session held has been released, but its own end could not be published: it may claim again.

    `failed` holds (claim, reason) for what could not be released either.
    """

    def __init__(self, message: str, failed: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.failed = failed


class Settling(Unavailable):
    """The store may have lost what it had confirmed. For `seconds` from now nothing is claimed: until all holders know."""

    code = "settling"

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


class CannotExclude(Unavailable):
    """The store has no primitive that lets exactly one of several win, or none that we can trust."""

    code = "cannot_exclude"


class WrongBackend(CannotExclude):
    """The backend that was asked for contradicts the stamp of the directory."""

    code = "wrong_backend"


class UnknownProtocol(Unavailable):
    """The directory was written by a version whose protocol this one does not know."""

    code = "unknown_protocol"


class SessionAlive(LooopError):
    """An id cannot be registered: its session lives, or nobody can tell that it does not."""

    code = "session_alive"

    def __init__(self, session: str, evidence: str) -> None:
        super().__init__(f"session '{session}' is alive: {evidence}")
        self.session = session
        self.evidence = evidence


def describe_holder(session: str) -> str:
    """For people. Empty: that of a record that is damaged."""
    return f"live session '{session}'" if session else "a session that cannot be read"


class ClaimHeld(LooopError):
    """`hold()` could not enter: another holds the claim. `holder` and `evidence` say who, and how that is known.

    `since`, by the holder's clock, `host` and `note` are those of its lease; each is empty where that does not say it.
    """

    code = "held"

    def __init__(self, claim: str, holder: str, evidence: str, since: str = "", host: str = "", note: str = "") -> None:
        super().__init__(f"claim {claim}: held by {describe_holder(holder)} ({evidence})")
        self.claim = claim
        self.holder = holder
        self.evidence = evidence
        self.since = since
        self.host = host
        self.note = note


class WaitedTooLong(ClaimHeld, TimeoutError):
    """`hold(timeout=...)` could not enter in time."""

    code = "timeout"

    def __init__(
        self, claim: str, holder: str, evidence: str, seconds: float, since: str = "", host: str = "", note: str = ""
    ) -> None:
        super().__init__(claim, holder, f"{evidence}; waited {seconds:g} s", since, host, note)


class WaitCancelled(ClaimHeld):
    """Somebody who waits with `cancel=` or `cancel_check=` was to wait no more. `holder`: empty, if none was seen."""

    code = "wait_cancelled"

    def __init__(self, claim: str, holder: str, evidence: str, since: str = "", host: str = "", note: str = "") -> None:
        super().__init__(claim, holder, evidence, since, host, note)
        held = f"it is held by {describe_holder(holder)} ({evidence})" if holder else evidence
        self.args = (f"claim {claim}: waiting for it was cancelled: {held}",)


class ClaimLost(LooopError):
    """A claim that this process held is not its own any more."""

    code = "lost"


class Interrupted(BaseException):
    """A signal asks this process to end, and it can in good order. No error: `except Exception` lets it pass."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.number = number

    def __reduce__(self) -> tuple[object, ...]:
        return _again, (type(self), self.args), self.__dict__


UNNAMED: set[str] = set()
"""The data directories that are used because nobody has named another: in a home directory, say."""
_UNUSABLE = (errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EROFS)
_UNNAMED_REMEDY = (
    "no data directory was named, and the home directory cannot be used: name one with --data-dir or LOOOP_DATA_DIR"
)
_REMEDIES = {
    errno.EACCES: "to share a directory among users, make it group-writable and setgid: chmod 2775",
    errno.EPERM: "to share a directory among users, make it group-writable and setgid: chmod 2775",
    errno.ENOTDIR: "choose another place with --data-dir or LOOOP_DATA_DIR",
    errno.EROFS: "choose another place with --data-dir or LOOOP_DATA_DIR",
    errno.ENOSPC: "make room, or choose another place with --data-dir or LOOOP_DATA_DIR",
}
_WINDOWS_REMEDIES = {
    5: 'to share a directory among users, let them modify it: icacls DIRECTORY /grant "*S-1-5-32-545:(OI)(CI)M" /T',
    19: "choose another place with --data-dir or LOOOP_DATA_DIR",
    **dict.fromkeys((32, 33), "close the program that has it open, and try again"),
    **dict.fromkeys((39, 112), "make room, or choose another place with --data-dir or LOOOP_DATA_DIR"),
    **dict.fromkeys((3, 21, 53, 67), "choose another place with --data-dir or LOOOP_DATA_DIR"),
}
"""By Windows' own numbers: denied; write protected; in use; full; no such path, drive, server or share. The id is that of
all users, whatever language Windows speaks."""


def because(error: OSError) -> str:
    """The system's own words for an error."""
    return error.strerror or str(error) or type(error).__name__


def describe_error(error: OSError) -> str:
    """An error of a file, with its path and, where we know one, the remedy."""
    path = error.filename2 or error.filename
    windows = getattr(error, "winerror", None)  # Errors have none elsewhere.
    remedy = _WINDOWS_REMEDIES.get(windows) if windows else _REMEDIES.get(error.errno or 0)
    if not windows and hasattr(error, "winerror") and error.errno in (errno.EACCES, errno.EPERM):
        remedy = _WINDOWS_REMEDIES[5]
    if error.errno in _UNUSABLE and path and _is_unnamed(str(path)):
        remedy = _UNNAMED_REMEDY
    return because(error) + (f": {path}" if path else "") + (f" ({remedy})" if remedy else "")


def _is_unnamed(path: str) -> bool:
    """Whether it is in a data directory that nobody has named, or above one, or beside what is above it."""
    path = path.replace("\\", "/").rstrip("/")
    above = path.rpartition("/")[0]
    beginnings = [f"{each}/" for each in (path, above) if each]
    return any(f"{path}/".startswith(f"{each}/") or f"{each}/".startswith(tuple(beginnings)) for each in UNNAMED)


def unavailable(error: OSError, about: str = "") -> Unavailable:
    """What somebody is told whom the store cannot answer: `about` what, what happened, to which path, and what to do."""
    return Unavailable(
        f"{about}: {describe_error(error)}" if about else describe_error(error),
        str(error.filename2 or error.filename or ""),
    )


def unreadable(error: OSError, claim: str) -> Unavailable:
    """The same, about a claim; about none of them, if it has no name."""
    return unavailable(error, f"claim {claim}" if claim else "")


class answering:  # noqa: N801 (it stands where a verb does)
    """At the edge of a room that calls files: an OSError that comes out of the block is told as `unavailable` tells it."""

    __slots__ = ("_about",)

    def __init__(self, about: str = "") -> None:
        self._about = about

    def __enter__(self) -> None:
        """Nothing is to be done before."""

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, OSError):
            raise unavailable(error, self._about) from error


def moved(claim: str, times: int) -> Unavailable:
    """Others were quicker so many times."""
    return Unavailable(f"claim {claim}: moved by others {times} times while we tried; try again")
