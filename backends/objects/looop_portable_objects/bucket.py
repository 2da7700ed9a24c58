"""A bucket, as the engine asks it: each request within its deadline, and again where the store asks for less haste."""

from __future__ import annotations

import os
import random
import time
from typing import Any, cast

from looop_portable.system.clock import elapsed
from looop_portable_objects.apart import Apart
from looop_portable_objects.client import ANYTHING, Busy, Client, Found, Version
from looop_portable_objects.place import Place

__all__ = ["Bucket"]

_SHORT = 1.0
_FIRST_PAUSE = 0.1


class Bucket:
    """The bucket at `place`. Making one connects to nothing."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._client: Client | Apart | None = None
        self._pid = 0

    def get(self, name: str) -> Found | None:
        return cast("Found | None", self._answer("get", 0.0, name))

    def stamp(self, name: str) -> Found | None:
        """What `get` finds, but for the data."""
        return cast("Found | None", self._answer("stamp", 0.0, name))

    def put(self, name: str, data: bytes, instead_of: Version | None = ANYTHING, *, until: float = 0.0) -> Version:
        """The version that was made. Raises `Refused`. It is not sent after the moment `until`, by `elapsed`."""
        return cast("Version", self._answer("put", until, name, data, instead_of))

    def delete(self, name: str) -> None:
        self._answer("delete", 0.0, name)

    def names(self, prefix: str, after: str, limit: int) -> list[tuple[str, Version]]:
        return cast("list[tuple[str, Version]]", self._answer("names", 0.0, prefix, after, limit))

    def link(self, name: str) -> str:
        return cast("str", self._answer("link", 0.0, name))

    def close(self) -> None:
        if isinstance(self._client, Apart):
            self._client.close()

    def _answer(self, request: str, until: float, *args: Any) -> Any:
        end = until or elapsed() + self.place.seconds
        pause = _FIRST_PAUSE
        while True:
            seconds = self.place.seconds
            if until and until - elapsed() < seconds:
                seconds = min(seconds, _SHORT)
            try:
                return self._reached().ask(request, seconds, *args)
            except Busy:
                if elapsed() + pause > end:
                    raise
                time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 (that not all come again at once)
                pause *= 2

    def _reached(self) -> Client | Apart:
        if self._client is None or self._pid != os.getpid():
            self._client, self._pid = Apart(self.place) if _is_forked else Client(self.place), os.getpid()
        return self._client


_is_forked = False


def _note_fork() -> None:
    global _is_forked
    _is_forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)
