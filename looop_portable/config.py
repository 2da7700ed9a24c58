"""Where things are and which backend is used: flag, else environment, else default."""

import os
import sys
from typing import NamedTuple

from looop_portable.errors import Unavailable, UsageError, because

DATA_DIR = "LOOOP_DATA_DIR"
BACKEND = "LOOOP_BACKEND"
SESSION_ID = "LOOOP_SESSION_ID"
LEASE = "LOOOP_LEASE"


class Config(NamedTuple):
    """`data_dir` is an absolute path; `backend` a backend's name, or `auto`."""

    data_dir: str
    backend: str

    @property
    def claims(self) -> str:
        return f"{self.data_dir}/claims"

    @property
    def sessions(self) -> str:
        return f"{self.data_dir}/sessions"

    @property
    def events(self) -> str:
        return f"{self.data_dir}/events.jsonl"


def resolve(data_dir: str | None = None, backend: str | None = None) -> Config:
    """What applies here. An empty environment variable counts as not set."""
    directory = data_dir or os.environ.get(DATA_DIR) or _default_data_dir()
    return Config(_absolute(directory), backend or os.environ.get(BACKEND) or "auto")


_known: dict[str, str] = {}
"""The latest directory that was absolute as it was given, whatever the current one is: `hold` asks again and again."""


def _absolute(directory: str) -> str:
    known = _known.get(directory)
    if known is not None:
        return known
    try:
        if b"\0" in os.fsencode(directory):
            raise UsageError(f"the data directory {directory!r} cannot be one: it has a null character")
        found = os.path.abspath(directory).replace(os.sep, "/")
    except UnicodeEncodeError:
        raise UsageError(f"the data directory {directory!r} cannot be one: it is not valid Unicode") from None
    except OSError as error:
        raise Unavailable(f"the current directory cannot be told: {because(error)}", directory) from error
    if found == directory:
        _known.clear()
        _known[directory] = found
    return found


def session_id(session: str | None = None) -> str:
    """The session to act for; empty if there is none."""
    return session or os.environ.get(SESSION_ID, "")


def state_dir() -> str:
    """Where this host keeps what belongs to it alone: not the data directory, which may be on a network.

    Raises `UsageError` where nothing says where that is: HOME is not set, say, and the user has no entry in passwd.
    """
    found = _default_data_dir()
    if not os.path.isabs(found):  # Without this, each directory that somebody works in would have one of its own.
        raise UsageError(f"the state directory {found!r} is no absolute path: set HOME or XDG_STATE_HOME")
    return os.path.abspath(found).replace(os.sep, "/")


def _default_data_dir() -> str:
    if (
        sys.platform == "linux"
    ):  # What platformdirs answers there, and looop; importing it costs a bare interpreter's start.
        home = os.environ.get("XDG_STATE_HOME", "").strip() or os.path.expanduser("~/.local/state")
        return f"{home}/looop"
    import platformdirs

    return platformdirs.user_state_dir("looop", appauthor=False)
