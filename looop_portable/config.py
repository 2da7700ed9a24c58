"""Where things are and which backend is used: flag, else environment, else default.

Guarantees: one setting means one store, whatever the current directory is; only a path that somebody has typed just now may
begin in it. What cannot be told is refused: a store that is another one in each directory excludes nobody. Nor does one
that Windows redirects: to Python from the Microsoft Store AppData is a folder of its own, by the same path.
"""

from __future__ import annotations

import functools
import os
import sys

from looop_portable.errors import UNNAMED, Unavailable, UsageError, because
from looop_portable.system.opening.locales import as_given
from looop_portable.typed import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from looop_portable.protocol.addresses import Address

DATA_DIR = "LOOOP_DATA_DIR"
BACKEND = "LOOOP_BACKEND"
SESSION_ID = "LOOOP_SESSION_ID"
OUTER = "LOOOP_OUTER_SESSIONS"
"""The sessions around that one: see `sessions/inside`."""
LEASE = "LOOOP_LEASE"

PathLike = str | os.PathLike[str]
Chosen: TypeAlias = "str | Address"
"""A backend, by its name or by its address."""

_STATE_HOME = "XDG_STATE_HOME"
_ELSEWHERE = f"name one outside of AppData, with --data-dir or {DATA_DIR}"
_WAY_OUT = f"name the data directory by an absolute path, with --data-dir or {DATA_DIR}"


class Config(NamedTuple):
    """`data_dir` is an absolute path; `backend` a backend's name, or `auto`, or the address of one."""

    data_dir: str
    backend: Chosen

    @property
    def claims(self) -> str:
        return f"{self.data_dir}/claims"

    @property
    def sessions(self) -> str:
        return f"{self.data_dir}/sessions"

    @property
    def events(self) -> str:
        return f"{self.data_dir}/events.jsonl"


def resolve(data_dir: PathLike | None = None, backend: Chosen | None = None) -> Config:
    """What applies here. An empty environment variable counts as not set.

    Raises `UsageError` for a directory that cannot be one, or that would be another one elsewhere: a relative path in the
    environment, a tilde that nobody has expanded, no home directory; AppData, to an app with a package. And for two at
    once, one of them by a `file://` address; and for a backend that is neither a name nor an address.
    """
    name = backend_name(backend)
    if isinstance(name, str):
        directory = _data_dir(data_dir)
    else:
        directory, name = _addressed(name, data_dir or ("" if backend else os.environ.get(DATA_DIR)))
    if sys.platform == "win32":
        refuse_redirected(directory, packaged=_is_packaged(), real=_real(directory))
    return Config(directory, name)


def refuse_redirected(directory: str, *, packaged: bool, real: str) -> None:
    """Raises `UsageError` where Windows has a process of a package, and no other, find something else in `directory`.

    `packaged`: this process is one. `real`: where the directory is, as far as it is there; then no process takes it for
    what it is called.
    """
    if (packaged and _is_in_app_data(directory)) or (_is_of_package(real) and not _is_of_package(directory)):
        why = "this Python is an app with a package (of the Microsoft Store), to which Windows shows an AppData of its own"
        raise UsageError(f"the data directory {directory!r} is another one for other programs: {why}: {_ELSEWHERE}")


def _is_in_app_data(path: str) -> bool:
    parts = _parts(path)
    following = zip(parts, parts[1:], [*parts[2:], ""], strict=False)
    return any(a == "appdata" and b in ("local", "roaming") and c != "packages" for a, b, c in following)


def _is_of_package(path: str) -> bool:
    parts = _parts(path)
    return any(a == "packages" and c == "localcache" for a, c in zip(parts, parts[2:], strict=False))


def _parts(path: str) -> list[str]:
    return path.replace("\\", "/").lower().split("/")


def backend_name(backend: Chosen | None = None) -> Chosen:
    """The backend that applies here. Raises `UsageError` for what is neither a name nor a URL."""
    found = backend or os.environ.get(BACKEND) or "auto"
    return found if isinstance(found, str) and found.isidentifier() else recognized(found)


def recognized(backend: Chosen) -> Chosen:
    """The name, or the address, that this is. Raises `UsageError` for what is neither."""
    if not isinstance(backend, str) or backend.isidentifier():
        return backend
    from looop_portable.protocol.addresses import chosen

    return chosen(backend)


def given(backend: Chosen) -> str:
    """As it was given, with its password: for a child's environment, or its stdin, and never for its command line."""
    return backend if isinstance(backend, str) else backend.reveal()


def located(data_dir: str, backend: Chosen) -> tuple[str, Chosen]:
    """The directory and the backend: a `file://` address names both. Raises `UsageError`."""
    if isinstance(backend, str) or backend.scheme != "file":
        return data_dir, backend
    from looop_portable.protocol.addresses import in_files

    directory, name = in_files(backend, windows=sys.platform == "win32")
    return _absolute(_whole(directory, "the directory of a URL", "file:///DIRECTORY")), name or "auto"


def _addressed(address: Address, data_dir: PathLike | None) -> tuple[str, Chosen]:
    """`data_dir`: the directory that was named beside the address, if any was."""
    if address.scheme != "file":
        return _data_dir(data_dir), address
    directory, name = located("", address)
    beside = _data_dir(data_dir) if data_dir else directory
    if beside != directory:
        raise UsageError(f"two data directories are named, {beside} and {address}: name one of them")
    return directory, name


def session_id(session: str | None = None) -> str:
    """The session to act for; empty if there is none."""
    return session or os.environ.get(SESSION_ID, "")


def refuse_homeless(data_dir: str, nearest: str) -> None:
    """Raises `UsageError` where nobody has named `data_dir`, and there is no home directory to have it.

    `nearest`: the nearest directory above it that is there.
    """
    if data_dir not in UNNAMED:
        return
    has_home = os.environ.get(_STATE_HOME, "").strip() or os.path.isdir(os.path.expanduser("~"))
    if os.path.dirname(nearest) == nearest or not has_home:
        raise UsageError(f"claims would be kept in {data_dir}, but this user has no home directory: {_WAY_OUT}")


def state_dir() -> str:
    """Where this host keeps what belongs to it alone: not the data directory, which may be on a network.

    Raises `UsageError` where nothing says where that is: HOME is not set, say, and the user has no entry in passwd.
    """
    return _absolute(_default_data_dir(f"set {_STATE_HOME} or HOME to an absolute path"))


_known: dict[str, str] = {}
"""The latest directory that was absolute as it was given, whatever the current one is: `hold` asks again and again."""


if sys.platform == "win32":
    from looop_portable.system.mounts import real_path
    from looop_portable.system.processes.windows_system import (
        is_packaged,  # Not later: a process that ends imports nothing any more.
    )

    @functools.cache
    def _is_packaged() -> bool:
        return is_packaged()

    _real = functools.cache(real_path)


def _data_dir(given: PathLike | None) -> str:
    if given:
        directory = given if type(given) is str else _text(given)
        return _known.get(directory) or _absolute(_expanded(directory, "the data directory"))
    directory = os.environ.get(DATA_DIR, "")
    if directory:
        return _known.get(directory) or _absolute(_whole(directory, DATA_DIR, _WAY_OUT))
    directory = _absolute(_default_data_dir(_WAY_OUT))
    UNNAMED.add(directory)
    return directory


def _text(given: PathLike) -> str:
    """A path as a program may have it: text, bytes, or what `os.fspath` knows."""
    try:
        return os.fsdecode(given)
    except TypeError:
        raise UsageError(f"the data directory {given!r} cannot be one: it is no path") from None


def _expanded(directory: str, what: str, way_out: str = _WAY_OUT) -> str:
    """Shells expand a tilde at the beginning of a word, and nothing else does: without this, `~` would be made."""
    if "://" in directory:
        raise UsageError(
            f"{what} is a URL (it is not repeated here, as it may hold a password): name it with --backend or {BACKEND}"
        )
    first, *rest = directory.replace(os.sep, "/").split("/")
    if first.startswith("~") or "~" in rest:
        raise UsageError(f"{what} is {directory!r}, whose ~ nobody has expanded: {way_out}")
    return directory


def _whole(directory: str, what: str, way_out: str) -> str:
    """A directory that is the same wherever we are. Raises `UsageError`."""
    _expanded(directory, what, way_out)
    if not os.path.isabs(directory):
        raise UsageError(f"{what} is {directory!r}, which is another directory wherever it is used: {way_out}")
    return directory


def _absolute(directory: str) -> str:
    try:
        given = as_given(directory)
        if b"\0" in os.fsencode(given):
            raise UsageError(f"the data directory {directory!r} cannot be one: it has a null character")
        found = os.path.abspath(given)
    except UnicodeEncodeError:
        raise UsageError(f"the data directory {directory!r} cannot be one: it is not valid Unicode") from None
    except OSError as error:
        raise Unavailable(f"the current directory cannot be told: {because(error)}", directory) from error
    found = as_given(found).replace(os.sep, "/")
    if found == directory:
        _known.clear()
        _known[directory] = found
    return found


def _default_data_dir(way_out: str) -> str:
    # What platformdirs answers there, and looop on Linux; importing it costs a bare interpreter's start.
    if sys.platform in ("linux", "darwin"):
        given = os.environ.get(_STATE_HOME, "").strip()
        below = ".local/state" if sys.platform == "linux" else "Library/Application Support"
        home = _whole(given, _STATE_HOME, way_out) if given else f"{_home(way_out)}/{below}"
        return f"{home}/looop"
    if sys.platform != "win32":
        _home(way_out)
    import platformdirs

    return _whole(platformdirs.user_state_dir("looop", appauthor=False), "the user's state directory", way_out)


def _home(way_out: str) -> str:
    """The home directory, by the environment, else by the user database. Raises `UsageError` where neither tells."""
    given = os.environ.get("HOME")
    if given == "":
        raise UsageError(f"HOME is empty, so that there is no home directory: {way_out}")
    if given is not None:
        return _whole(given, "HOME", way_out).rstrip("/")
    found = os.path.expanduser("~")
    if not os.path.isabs(found):
        raise UsageError(f"HOME is not set, and the system knows no home directory of this user: {way_out}")
    return found.rstrip("/")
