"""What is answered after an error: one at each of the filesystem's calls in turn, before the deed and after it.

An answer is true, or there is none (`Unavailable`), and then the same verb, said again, answers truly.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.capabilities import NATIVE, NativeBackend, NativeFiles

from looop_portable import Broken, Claims, LooopError, Released, Renewed, Unavailable, Won, claim_all
from looop_portable.protocol.records import Holder

CALLS = [
    *("create", "link", "rename", "replace", "remove", "list", "read", "refuse_link", "mkdir", "age", "make_beat"),
    *("changed", "now", "keep_lock", "let_lock_go", "shared_bits", "floor", "raise_floor", "is_same", "mount_of"),
]
ALWAYS_DONE = ("let_lock_go",)
"""A close that fails has closed it."""


class Faults(NativeFiles):
    """The real files. Call number `at` fails, before or after its deed; `stays`: all after it, too."""

    def __init__(self) -> None:
        self.at = 0
        self.count = 0
        self.after = self.stays = False
        self.number = errno.EIO
        self.failed = ""
        self._inside = False

    def arm(self, at: int, *, after: bool, number: int = errno.EIO, stays: bool = False) -> None:
        self.at, self.count, self.after, self.number, self.stays, self.failed = at, 0, after, number, stays, ""


def _faulty(name: str) -> Callable[..., Any]:
    real = getattr(NativeFiles, name)

    def call(self: Faults, *args: Any, **options: Any) -> Any:
        if self._inside or not self.at:
            return real(self, *args, **options)
        self.count += 1
        is_now = self.count == self.at or (self.stays and self.count > self.at)
        self._inside = True
        try:
            self.failed = name if is_now else self.failed
            if is_now and not self.after and name not in ALWAYS_DONE:
                raise OSError(self.number, os.strerror(self.number))
            found = real(self, *args, **options)
            if is_now:
                raise OSError(self.number, os.strerror(self.number))
            return found
        finally:
            self._inside = False

    return call


for _name in CALLS:
    setattr(Faults, _name, _faulty(_name))


class Stage:
    """A store in which a session holds `mine`, and what it does may fail."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = str(data_dir)
        self.files = Faults()
        self.claims = Claims(NativeBackend(self.data_dir, self.files))
        self.me = self.claims.sessions.register("me").holder
        assert isinstance(self.claims.claim("mine", self.me), Won)
        self.clean = Claims.open(self.data_dir, NATIVE)

    def held(self, name: str) -> str:
        lease = self.clean.show(name).lease
        return lease.session if lease else ""


def claim(stage: Stage) -> bool:
    assert isinstance(stage.claims.claim("new", stage.me), Won | Renewed)
    return stage.held("new") == "me"


def release(stage: Stage) -> bool:
    assert isinstance(stage.claims.release("mine", stage.me), Released)
    return stage.held("mine") == ""


def break_(stage: Stage) -> bool:
    generation = stage.clean.show("mine").generation
    if not stage.held("mine"):
        return True  # It was broken the first time.
    assert isinstance(stage.claims.break_claim("mine", generation, "test"), Broken)
    return stage.held("mine") == ""


def register(stage: Stage) -> bool:
    found = stage.claims.sessions.register("new")
    return stage.clean.sessions.registration(found.holder) is not None


def register_locked(stage: Stage) -> bool:
    found = stage.claims.sessions.register("new", lease_seconds=30, locked=True)
    return stage.clean.sessions.registration(found.holder) is not None


def stop(stage: Stage) -> bool:
    stage.claims.sessions.stop(*stage.me)
    return stage.clean.sessions.registration(stage.me) is None


def retire(stage: Stage) -> bool:
    retired = stage.claims.retire(stage.me)
    left = {name for name, _ in retired.failed}
    return stage.clean.sessions.registration(stage.me) is None and (bool(left) or stage.held("mine") == "")


def hand_over(stage: Stage) -> bool:
    another = os.getppid() or max(psutil.pids())  # Under Wine, what starts a Windows program is not one.
    assert stage.claims.sessions.hand_over(stage.me, another)
    found = stage.clean.sessions.registration(stage.me)
    return found is not None and found.pid == another


def several(stage: Stage) -> bool:
    assert isinstance(claim_all(stage.claims, ["a", "b", "c"], stage.me), list)
    return [stage.held(name) for name in "abc"] == ["me"] * 3


VERBS = [claim, release, break_, register, register_locked, stop, retire, hand_over, several]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.__name__.strip("_"))
def test_an_answer_after_an_error_is_true(verb: Callable[[Stage], bool], after: bool, tmp_path: Path) -> None:
    at, number = 0, errno.EIO
    while True:
        at += 1
        stage = Stage(tmp_path / str(at))
        stage.files.arm(at, after=after, number=number)
        try:
            assert verb(stage), f"call {at}: {stage.files.failed}"
        except Unavailable as error:
            stage.files.at = 0
            told = f"call {at}: {stage.files.failed}: {error}"
            if verb is several:
                assert [stage.held(name) for name in "abc"] == [""] * 3, told
            if verb in (register, register_locked):
                assert stage.clean.sessions.status("new") is None or stage.clean.sessions.status("new").verdict.dead, told  # type: ignore[union-attr]
            assert verb(stage), told
        if not stage.files.failed:
            break
    assert at > 3


def test_a_link_that_was_repeated_is_no_reason_to_say_that_there_was_nothing_to_break(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS: the reply to the first was lost, and the second finds what it has made."""
    stage = Stage(tmp_path)

    def twice(self: Faults, own: str, public: str) -> None:
        NativeFiles.link(self, own, public)
        NativeFiles.link(self, own, public)

    monkeypatch.setattr(Faults, "link", twice)
    outcome = stage.claims.break_claim("mine", 1, "test")
    assert isinstance(outcome, Broken)
    assert outcome.generation == 2
    assert stage.held("mine") == ""


def test_a_close_that_fails_when_a_session_ends_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(tmp_path)
    found = stage.claims.sessions.register("other", lease_seconds=30, locked=True).holder
    real = NativeFiles.let_lock_go

    def fails(self: Faults, path: str) -> None:
        real(self, path)
        raise OSError(errno.EIO, "close")

    monkeypatch.setattr(Faults, "let_lock_go", fails)
    assert stage.claims.sessions.stop(*found)


def test_a_registration_that_fails_leaves_no_descriptor_open(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    for at in range(1, 40):
        stage.files.arm(at, after=False, stays=True)
        try:
            found: Holder | None = stage.claims.sessions.register("new", lease_seconds=30, locked=True).holder
        except LooopError:
            found = None
        stage.files.at = 0
        if found:
            stage.claims.sessions.stop(*found)
            break
        mine = [path for path in Faults._locks if path.startswith(str(tmp_path))]
        assert mine == [], at


def test_what_could_not_be_taken_back_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(tmp_path)
    advance = stage.claims.backend.advance

    def dies(name: str, expected: int, lease: Any) -> bool:
        if name == "a" and lease is not None:
            return advance(name, expected, lease)
        raise Unavailable("the disk is gone")

    monkeypatch.setattr(stage.claims.backend, "advance", dies)
    with pytest.raises(Unavailable, match="could not all be released"):
        claim_all(stage.claims, ["a", "b"], stage.me)


def test_what_could_not_be_taken_back_at_once_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(tmp_path)
    advance, failures = stage.claims.backend.advance, [1, 2]

    def fails(name: str, expected: int, lease: Any) -> bool:
        if name == "a" and lease is not None:
            return advance(name, expected, lease)
        if failures:
            failures.pop()
            raise Unavailable("for a moment")
        return advance(name, expected, lease)

    monkeypatch.setattr(stage.claims.backend, "advance", fails)
    with pytest.raises(Unavailable, match=r"for a moment$"):
        claim_all(stage.claims, ["a", "b"], stage.me)
    assert stage.held("a") == ""
