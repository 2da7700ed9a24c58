"""Claims in a file of SQLite's, which processes of one machine share: an engine, and the worked example of
docs/explanation/engines.md.

Guarantees: the laws of `looop_portable.backends.engine`, for as long as the file is the one that it was.
Does not guarantee: anything on a network mount, where SQLite's locks may exclude nobody; nor that a power cut loses nothing
if the disk says that it has written what it has not. Its clock is the machine's, which people set: it is not `steady`.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from typing import Any

from looop_portable.backends.engine import BEAT, NOTHING, Engine, Heard, Record, Step, kept
from looop_portable.backends.on_engine import OnEngine
from looop_portable.errors import Unavailable, UsageError
from looop_portable.system.clock import elapsed

TABLE = "CREATE TABLE IF NOT EXISTS records (kind, key, number, data, at, keep, PRIMARY KEY (kind, key)) WITHOUT ROWID"
NOW = "(julianday('now') * 86400.0)"
HERE = "FROM records WHERE kind = ? AND key = ?"
PUT = f"INSERT OR REPLACE INTO records SELECT ?, ?, ?, ?, {NOW}, ?"


class SqliteEngine(Engine):
    """`local`: the file is on a disk that no other machine, virtual or not, can reach.

    Each call has a connection of its own: it is safe among threads, after a fork, and in a signal's handler, which gives up
    if it has come in the middle of a change.
    """

    def __init__(self, path: str, *, local: bool = False, seconds: float = 4.0) -> None:
        self._path = os.path.realpath(path)
        self.where = f"sqlite:{self._path}"
        self.local = local
        self._seconds = seconds

    def read(self, kind: str, key: str) -> Record:
        found = self._done(f"SELECT number, data {HERE}", kind, key)[1]
        return Record(*found[0]) if found else NOTHING

    def advance(self, kind: str, key: str, after: int, data: bytes, *, not_after: float) -> Step:
        """One statement compares and publishes. It has the lock by then, also when it asks for the time."""
        if_it_stands = f"WHERE coalesce((SELECT number {HERE}), 0) = ? AND elapsed() <= ?"
        new = Record(after + 1, data)
        won, _ = self._done(f"{PUT} {if_it_stands}", kind, key, *new, None, kind, key, after, not_after)
        return Step(True, new) if won else Step(False, self.read(kind, key))

    def scan(self, kind: str, prefix: str = "", start: str = "", limit: int = 1000) -> list[tuple[str, Record]]:
        those = "WHERE kind = ? AND key > ? AND substr(key, 1, ?) = ? ORDER BY key LIMIT ?"
        found = self._done(f"SELECT key, number, data FROM records {those}", kind, start, len(prefix), prefix, limit)[1]
        return [(key, Record(number, data)) for key, number, data in found]

    def forget(self, kind: str, key: str) -> None:
        self._done(f"DELETE {HERE}", kind, key)

    def beat(self, word: str, lease: float) -> None:
        self._done(f"DELETE FROM records WHERE kind = ? AND at + keep < {NOW}", BEAT)
        self._done(PUT, BEAT, word, 0, os.urandom(8).hex(), kept(lease))

    def heard(self, word: str) -> Heard | None:
        found = self._done(f"SELECT {NOW} - at, data {HERE}", BEAT, word)[1]
        return Heard(*found[0]) if found else None

    def _done(self, statement: str, *values: object) -> tuple[int, list[Any]]:
        """How many records it has changed, and what it has found. One that fails has changed nothing."""
        try:
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            with closing(sqlite3.connect(self._path, timeout=self._seconds, isolation_level=None)) as database:
                database.create_function("elapsed", 0, elapsed)
                database.execute(TABLE)
                cursor = database.execute(statement, values)
                return cursor.rowcount, cursor.fetchall()
        except (sqlite3.Error, OSError) as error:
            raise Unavailable(f"{self.where}: {error}") from error


def open_sqlite(data_dir: str, url: str = "") -> OnEngine:
    """What the entry point names: the backend `sqlite` of a data directory, or that of the file in `sqlite:///PATH`."""
    return OnEngine(SqliteEngine(path_in(url) if url else os.path.join(data_dir, "claims.sqlite")), "sqlite")


def path_in(url: str) -> str:
    """Raises `UsageError` where the URL names no file."""
    from urllib.parse import unquote, urlsplit  # A name needs neither.

    found = urlsplit(url)
    path = unquote(found.path).removeprefix("/" if os.name == "nt" else "")  # Of a drive: sqlite:///C:/DIRECTORY/FILE.
    if found.netloc or found.query or not os.path.basename(path):
        raise UsageError("a URL of SQLite's names a file and no more: sqlite:///DIRECTORY/FILE")
    return path
