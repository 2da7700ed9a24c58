"""Claims in a file of SQLite's, which processes of one machine share: an engine, and the worked example of
docs/explanation/engines.md.

Guarantees: the laws of `looop_portable.backends.engine`, for as long as the file is the one that it was.
Does not guarantee: anything on a network mount, where SQLite's locks may exclude nobody; nor that a power cut loses nothing
if the disk says that it has written what it has not. Its clock is the machine's, which people set: it is not `steady`.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

from looop_portable.backends.engine import BEAT, NOTHING, Engine, Heard, Record, Step
from looop_portable.backends.on_engine import OnEngine
from looop_portable.errors import Unavailable, UsageError
from looop_portable.system.clock import elapsed

TABLES = (
    "CREATE TABLE IF NOT EXISTS records (kind, key, number, data, PRIMARY KEY (kind, key)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS beats (word PRIMARY KEY, beat, at, until) WITHOUT ROWID",
)
NOW = "(julianday('now') * 86400.0)"


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
        with self._transaction() as database:
            return standing(database, kind, key)

    def advance(self, kind: str, key: str, after: int, data: bytes, *, not_after: float) -> Step:
        with self._transaction(writes=True) as database:
            now = standing(database, kind, key)
            if now.number != after or elapsed() > not_after:  # Asked by whoever has the lock: nothing comes in between.
                return Step(False, now)
            database.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?)", (kind, key, after + 1, data))
            return Step(True, Record(after + 1, data))

    def scan(self, kind: str, prefix: str = "", start: str = "", limit: int = 1000) -> list[tuple[str, Record]]:
        which = "kind = ? AND key > ? AND substr(key, 1, ?) = ? ORDER BY key LIMIT ?"
        with self._transaction() as database:
            asked = f"SELECT key, number, data FROM records WHERE {which}"
            found = database.execute(asked, (kind, start, len(prefix), prefix, limit))
            return [(key, Record(number, data)) for key, number, data in found]

    def forget(self, kind: str, key: str) -> None:
        with self._transaction(writes=True) as database:
            if kind == BEAT:
                database.execute("DELETE FROM beats WHERE word = ?", (key,))
            else:
                database.execute("DELETE FROM records WHERE kind = ? AND key = ?", (kind, key))

    def beat(self, word: str, keep: float) -> None:
        with self._transaction(writes=True) as database:
            database.execute(f"DELETE FROM beats WHERE until < {NOW}")
            said = f"INSERT OR REPLACE INTO beats VALUES (?, hex(randomblob(8)), {NOW}, {NOW} + ?)"
            database.execute(said, (word, keep))

    def heard(self, word: str) -> Heard | None:
        with self._transaction() as database:
            found = database.execute(f"SELECT {NOW} - at, beat FROM beats WHERE word = ?", (word,)).fetchone()
            return Heard(*found) if found else None

    @contextmanager
    def _transaction(self, *, writes: bool = False) -> Iterator[sqlite3.Connection]:
        """Whatever fails in it is undone, and `Unavailable`."""
        try:
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            with closing(sqlite3.connect(self._path, timeout=self._seconds, isolation_level=None)) as database:
                if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'beats'").fetchone():
                    for table in TABLES:
                        database.execute(table)
                database.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
                yield database
                database.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            raise Unavailable(f"{self.where}: {error}") from error


def standing(database: sqlite3.Connection, kind: str, key: str) -> Record:
    """The record there, as this transaction sees it."""
    found = database.execute("SELECT number, data FROM records WHERE kind = ? AND key = ?", (kind, key)).fetchone()
    return Record(*found) if found else NOTHING


def open_sqlite(data_dir: str, url: str = "") -> OnEngine:
    """What the entry point names: the backend `sqlite` of a data directory, or that of the file in `sqlite:///PATH`."""
    return OnEngine(SqliteEngine(path_in(url) if url else os.path.join(data_dir, "claims.sqlite")), "sqlite")


def path_in(url: str) -> str:
    """Raises `UsageError` where the URL names no file."""
    from urllib.parse import urlsplit  # A name needs neither, and they take as long to import as all the rest.
    from urllib.request import url2pathname

    found = urlsplit(url)
    path = url2pathname(found.path)
    if found.netloc or found.query or not os.path.basename(path):
        raise UsageError("a URL of SQLite's names a file and no more: sqlite:///DIRECTORY/FILE")
    return path
