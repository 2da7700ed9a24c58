"""One process that reads and advances records of an engine, and writes down each call, before it and after it.

A line of JSON each, in a file of its own: first what is asked, and then the same with what came of it. Whoever is killed in
the middle leaves the first alone.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
import traceback
from pathlib import Path
from typing import NoReturn

from looop_portable import LooopError
from looop_portable.backends import find
from looop_portable.backends.engine import CLAIM, Engine
from looop_portable.backends.on_engine import OnEngine
from looop_portable.config import recognized
from looop_portable.system.clock import elapsed

WITHIN = 5.0


def engine_at(url: str, directory: str) -> Engine:
    backend = find(recognized(url))(directory, url)
    assert isinstance(backend, OnEngine)
    return backend._store.engine


def become(url: str, place: Path, life: int, keys: tuple[str, ...], seed: int) -> NoReturn:
    """A client, in a process that was forked for it."""
    try:
        os.closerange(3, 4096)
        Client(engine_at(url, str(place)), place, life, keys, random.Random(f"{seed} {life}")).work()
    except BaseException:  # noqa: BLE001 (whatever it is, it is told)
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(1)


class Client:
    def __init__(self, engine: Engine, place: Path, life: int, keys: tuple[str, ...], chance: random.Random) -> None:
        self.engine, self.life, self.keys, self.random = engine, life, keys, chance
        self.file = os.open(place / f"history-{life}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.known = dict.fromkeys(keys, 0)
        self.calls = 0

    def work(self) -> NoReturn:
        while True:
            key = self.random.choice(self.keys)
            self.calls += 1
            asked: dict[str, object] = {"client": self.life, "key": key, "id": f"{self.life}-{self.calls}"}
            if self.random.random() < 0.3:
                self.once({**asked, "op": "read"}, key, None)
            else:
                self.once({**asked, "op": "advance", "after": self.known[key], "data": asked["id"]}, key, str(asked["id"]))
            time.sleep(self.random.random() * 0.01)

    def once(self, asked: dict[str, object], key: str, data: str | None) -> None:
        asked["call"] = time.monotonic_ns()
        self.write(asked)
        won = False
        try:
            if data is None:
                now = self.engine.read(CLAIM, key)
            else:
                won, now = self.engine.advance(CLAIM, key, self.known[key], data.encode(), not_after=elapsed() + WITHIN)
        except (LooopError, OSError) as error:
            self.write({**asked, "failed": f"{type(error).__name__}: {error}"[:200], "return": time.monotonic_ns()})
            time.sleep(0.05)
            return
        self.known[key] = now.number
        found = {"won": won, "number": now.number, "now": now.data.decode(), "return": time.monotonic_ns()}
        self.write({**asked, **found})

    def write(self, line: dict[str, object]) -> None:
        os.write(self.file, json.dumps(line).encode() + b"\n")
