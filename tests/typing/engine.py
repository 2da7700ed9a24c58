"""A backend of somebody else's: it writes what is abstract, and the rest has a default. And its exam."""

from collections.abc import Iterator
from typing import assert_type

from looop_portable import Backend, Claims, Head, Lease
from looop_portable.backends.base import SessionStore
from looop_portable.testing import BackendExam, Reopen


class Table(Backend):
    """Claims in a dictionary; sessions as another backend has them."""

    @property
    def name(self) -> str:
        return "table"

    def __init__(self, sessions: SessionStore) -> None:
        self.sessions = sessions
        self._heads: dict[str, Head] = {}

    def read(self, claim: str) -> Head:
        return self._heads.get(claim, Head(0, None))

    def advance(self, claim: str, expected: int, lease: Lease | None) -> bool:
        if self.read(claim).generation != expected:
            return False
        self._heads[claim] = Head(expected + 1, lease)
        return True

    def scan(self) -> Iterator[tuple[str, Head | None]]:
        return ((name, head) for name, head in self._heads.items() if head.lease)


def open_table(data_dir: str) -> Backend:
    """The entry point."""
    sessions = Claims.open(data_dir, "memory").backend.sessions
    assert_type(sessions, SessionStore)
    return Table(sessions)


class TestTable(BackendExam):
    """The exam, which a fixture of this name gives its stores to."""

    def reopen(self) -> Reopen:
        return lambda: open_table("")


claims = Claims(open_table(""))
assert_type(claims.backend, Backend)
assert_type(claims.backend.read("repo-x"), Head)
assert_type(claims.backend.unavailable(), str | None)
