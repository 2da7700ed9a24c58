"""What is whole before it has its name: it is made under a private one, and then renamed, or linked.

Guarantees: nobody sees a part of it by its name. After an error or an interruption nothing is left of it under a private
one, if that can be removed.
Does not guarantee: that it has no name after an error. The reply may have been lost after the deed. Nor that a process that
is killed leaves nothing: whoever sweeps removes private files at any time (see `ours`), and their makers make others.
"""

from __future__ import annotations

import contextlib
import errno
import functools
from collections.abc import Callable

from looop_portable.errors import Unavailable
from looop_portable.typed import Protocol, TypeVar

_TRIES = 64

_T = TypeVar("_T")


class Maker(Protocol):
    """Of `files.Files`, and of a `Room`, what makes a file, gives it its name, and removes it."""

    def create(self, path: str, data: bytes, *, shared: int = 0, durable: bool = False) -> None: ...
    def replace(self, private: str, public: str) -> None: ...
    def remove(self, path: str) -> bool: ...


def named(
    private: Callable[[int], str],
    make: Callable[[str], object],
    name: Callable[[str], _T],
    remove: Callable[[str], object],
    *,
    make_room: Callable[[], object] | None = None,
) -> _T:
    """What `name` gives, which is handed the private path of what `make` has made.

    Once more, with another path, if the one before was swept before it had its name, or was taken; or if its directory was
    missing, and `make_room` has made it. Raises OSError; FileExistsError only where `name` does; `Unavailable` after many
    times.
    """
    for attempt in range(_TRIES):
        path, made = private(attempt), False
        try:
            make(path)
            made = True
            return name(path)
        except FileNotFoundError:
            if not made:
                if make_room is None:
                    raise
                make_room()
        except FileExistsError:  # If it is the private one, the reply was lost, and it may be incomplete.
            if made:
                _discard(path, remove)
                raise
        except BaseException as error:
            if not (isinstance(error, OSError) and error.errno == errno.ESTALE):
                _discard(path, remove)
                raise
            # NFS says so of what another host has swept: version 3 when it is closed.
    raise Unavailable(f"{path}: removed by others as often as it is made; try again", path)


def fresh(begin: str, word: Callable[[], str]) -> Callable[[int], str]:
    """Private paths that begin so, each with a word of its own."""
    return lambda _: f"{begin}{word()}"


def put(
    files: Maker, public: str, data: bytes, private: Callable[[int], str], *, shared: int = 0, durable: bool = False
) -> None:
    """A new file with all of `data` is at `public`, whatever was there before. Raises OSError, as `named` does."""
    make = functools.partial(files.create, data=data, shared=shared, durable=durable)
    named(private, make, lambda path: files.replace(path, public), files.remove)


def _discard(path: str, remove: Callable[[str], object]) -> None:
    with contextlib.suppress(OSError):  # Swept some day.
        remove(path)
