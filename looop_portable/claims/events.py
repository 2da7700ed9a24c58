"""events.jsonl: what happened to claims and sessions, one JSON object a line, for machines that watch.

Guarantees: each event is one append of one whole line; writing one never fails a verb.
Does not guarantee: that every transition is in it (a crash, or a full disk, loses one), nor order between hosts. The
ledger is the truth. When the file is larger than `CAP` it becomes `events.jsonl.1`, replacing the one before.
Compatibility: looop appends to the same file; `claim_reaped` has the fields that it writes.
"""

from __future__ import annotations

import os
import sys

from looop_portable.config import session_id
from looop_portable.errors import because
from looop_portable.protocol.codec import encode
from looop_portable.system.clock import timestamp
from looop_portable.system.files import OS, OsFiles
from looop_portable.system.processes import host

CAP = 8 * 1024 * 1024
"""Bytes."""


class Events:
    """The log at `path`. `trouble` is why the last event could not be written; empty if it was."""

    def __init__(self, path: str, files: OsFiles = OS, cap: int = CAP) -> None:
        self.path = path
        self.trouble = ""
        self._files = files
        self._cap = cap
        self._shared: int | None = None

    def emit(self, event: str, claim: str | None, **fields: str | int) -> None:
        """Append `event` about `claim` (None: about a session), with the time by this host's clock."""
        line = encode({"ts": timestamp(), "event": event, "claim": claim, **fields})
        try:
            if self._shared is None:
                self._shared = self._files.shared_bits(os.path.dirname(self.path))
            self._files.append(self.path, line, self._cap, shared=self._shared)
            self.trouble = ""
        except OSError as error:
            self.trouble = f"the event could not be written to {self.path}: {because(error)}"


def by_whom() -> dict[str, str]:
    """Who acts, for the event: this process's user and host, and the session that it acts for, if it is told one."""
    session = session_id(None)
    return {"by_user": _user(), "by_host": host(), **({"by_session": session} if session else {})}


def _user() -> str:
    """The name of the effective user, and not what the environment says; a number where it has no name."""
    if sys.platform == "win32":
        return os.environ.get("USERNAME", "")
    import pwd

    number = os.geteuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
