"""Faults put into the code on purpose: a sweep that does not find each of them would see nothing."""

from __future__ import annotations

import os
from collections.abc import Callable

from looop_portable.claims.gate import Claims
from looop_portable.ledger.ledger import Ledger
from looop_portable.ledger.publishing import Publisher
from looop_portable.system.files.posix import OsFiles


def error_is_a_win() -> None:
    """Whoever gets an error takes it for a lost reply, and does not look at what is published."""
    real = Publisher._publish

    def publish(self: Publisher, written: list[str], public: str, data: bytes, private: str) -> str:
        try:
            return real(self, written, public, data, private)
        except (FileExistsError, FileNotFoundError):
            raise
        except OSError:
            return private

    Publisher._publish = publish  # type: ignore[method-assign]


def renamed_over() -> None:
    """A generation is published over whatever is there, as by rename(2)."""
    real = OsFiles.link

    def link(self: OsFiles, private: str, public: str) -> None:
        if not os.path.basename(public).isdecimal():
            return real(self, private, public)
        real(self, private, f"{private}-copy")
        os.replace(f"{private}-copy", public)
        return None

    OsFiles.link = link  # type: ignore[method-assign]


def releases_whatever_stands() -> None:
    """A release does not compare what it lets go with what holds."""
    real = Ledger.release

    def release(self: Ledger, key: str, expected: int, *, moves: bool = False) -> bool:
        return real(self, key, self.head(key)[0], moves=moves)

    Ledger.release = release  # type: ignore[method-assign]


def released_all_the_same() -> None:
    """Whoever gets an error at releasing says that it is done."""
    real = Claims.release_lease

    def release_lease(self: Claims, lease: object) -> object:
        from looop_portable.errors import Unavailable
        from looop_portable.protocol.outcomes import Released

        try:
            return real(self, lease)  # type: ignore[arg-type]
        except Unavailable:
            return Released(lease.name, lease.generation + 1)  # type: ignore[attr-defined]

    Claims.release_lease = release_lease  # type: ignore[assignment]


def leaks_where_it_fails() -> None:
    """A descriptor stays open where a read fails."""
    real = OsFiles.list

    def names(self: OsFiles, path: str) -> list[str]:
        fd = os.open(path, os.O_RDONLY)
        found = real(self, path)
        os.close(fd)
        return found

    OsFiles.list = names  # type: ignore[method-assign]


MUTANTS: dict[str, Callable[[], None]] = {
    "error is a win": error_is_a_win,
    "renamed over": renamed_over,
    "releases whatever stands": releases_whatever_stands,
    "released all the same": released_all_the_same,
    "leaks where it fails": leaks_where_it_fails,
}
