"""Looop as of 0.57, for the explorer: it knows the projection and its guard, and nothing else."""

from __future__ import annotations

from looop_portable.protocol.codec import decode, encode, text
from looop_portable.protocol.records import Holder
from looop_portable.testing.explorer.scripted import Recorded
from looop_portable.testing.explorer.search import Actor


class LooopActor:
    """Claims `name` for `me`, holds and releases; says so to the oracle."""

    def __init__(self, name: str, me: Holder) -> None:
        self._name = name
        self._me = me
        self._who = f"{me.session}/{me.incarnation}"
        self._mine = encode({"session": me.session, "name": name})
        self._dirlock, self._shown = "/d/claims/.dirlock", f"/d/claims/{name}.json"

    def actor(self, name: str) -> Actor:
        return Actor(name, self._run, (self._who,))

    def _run(self, files: Recorded) -> None:
        if self._claim(files):
            files.ask("won", self._who, "0")
            files.ask("leaves", self._who)
            if not self._remove_if_still(files, self._mine):
                files.ask("robbed", self._who)

    def _claim(self, files: Recorded) -> bool:
        for _ in range(8):
            if self._create(files):
                return True
            shown = files.read(self._shown)
            if shown is None:
                continue
            record = decode(shown)
            if text(record, "session") == self._me.session:
                return True
            if files.ask("alive?", f"{text(record, 'session')}/{text(record, 'incarnation')}"):
                return False
            self._remove_if_still(files, shown)
        return False

    def _create(self, files: Recorded) -> bool:
        with files.guard(self._dirlock):
            if files.read(self._shown) is not None:
                return False
            private = f"/d/claims/.{self._name}-{files.nonce()}"
            files.create(private, self._mine)
            files.replace(private, self._shown)
            return True

    def _remove_if_still(self, files: Recorded, seen: bytes) -> bool:
        with files.guard(self._dirlock):
            shown = files.read(self._shown)
            if shown == seen:
                files.remove(self._shown)
            return shown in (None, seen)
