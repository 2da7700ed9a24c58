"""events.jsonl: what happened to claims, one JSON object a line, for machines that watch.

Guarantees: each event is one append of one whole line; writing one never fails a verb.
Does not guarantee: that every transition is in it (a crash, or a full disk, loses one), nor order between hosts. The
ledger is the truth. When the file is larger than `CAP` it becomes `events.jsonl.1`, replacing the one before.
Compatibility: looop appends to the same file; `claim_reaped` has the fields that it writes.
"""

from __future__ import annotations

import os

from looop_portable.errors import because
from looop_portable.protocol.codec import encode
from looop_portable.system.clock import timestamp
from looop_portable.system.files import OS, OsFiles

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

    def emit(self, event: str, claim: str, **fields: str | int) -> None:
        """Append `event` about `claim`, with the time by this host's clock."""
        line = encode({"ts": timestamp(), "event": event, "claim": claim, **fields})
        try:
            if self._shared is None:
                self._shared = self._files.shared_bits(os.path.dirname(self.path))
            self._files.append(self.path, line, self._cap, shared=self._shared)
            self.trouble = ""
        except OSError as error:
            self.trouble = f"the event could not be written to {self.path}: {because(error)}"
