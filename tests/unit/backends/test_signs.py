"""Heartbeats on a filesystem whose clock is moved: judged from another kernel, watched, ended before acting upon it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from support.capabilities import NATIVE_POLICY, NativeFiles

from looop_portable import Claims, Held, Refused, Released, SessionAlive, Won
from looop_portable.backends.directory.backend import DirectoryBackend
from looop_portable.errors import Unavailable
from looop_portable.protocol.liveness import Basis, Here, Liveness, ProcessState, Verdict
from looop_portable.protocol.records import Holder, Registration
from looop_portable.sessions.registrar import Sessions

LEASE = 30
SECOND = 1_000_000_000


class Stepped(NativeFiles):
    """The filesystem's clock is `ahead` seconds ahead of this host's, for all that is written from now on."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.stalls = 0.0

    def beat(self, path: str) -> None:
        super().beat(path)
        at = os.stat(path).st_mtime_ns + int(self.ahead * SECOND)
        os.utime(path, ns=(at, at))

    def now(self, directory: str) -> int:
        found = super().now(directory)
        self.ahead += self.stalls
        return found

    def changed(self, path: str) -> int | None:
        found = super().changed(path)
        if "heartbeat" in path:
            self.ahead += self.stalls
        return found


class Host(NamedTuple):
    """Processes as those of a kernel; all of them run."""

    boot: str

    def here(self) -> Here:
        return Here(self.boot, "namespace")

    def start_of(self, pid: int) -> str:
        return f"start of {pid}"

    def state(self, pid: int, start: str) -> ProcessState:
        return ProcessState.RUNNING


class Share:
    """One directory, as two hosts see it: `holders`, where `h` holds `x`, and `ours`, where `w` wants it."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory / "sessions"
        self.files = Stepped()
        self.holders, self.ours = self._host("there"), self._host("here")
        for host in (self.holders, self.ours):
            monkeypatch.setattr(host.backend.sessions.signs, "disk", str)
        self.holder = self.holders.sessions.register("h", lease_seconds=LEASE).holder
        self.me = self.ours.sessions.register("w").holder
        assert isinstance(self.holders.claim("x", self.holder), Won)

    def _host(self, boot: str) -> Claims:
        backend = DirectoryBackend(str(self.directory.parent), NATIVE_POLICY, self.files)
        return Claims(backend, None, Sessions(backend.sessions, Host(boot)))

    def pass_time(self, seconds: float) -> None:
        self.files.ahead += seconds

    @property
    def verdict(self) -> Verdict:
        return self.ours.sessions.verdict(*self.holder)

    def liveness(self) -> Liveness:
        return self.verdict.liveness

    def signs(self, kind: str) -> list[str]:
        return sorted(name for name in os.listdir(self.directory / "h") if kind in name)


@pytest.fixture
def share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Share]:
    made = Share(tmp_path, monkeypatch)
    yield made
    left = [name for name in os.listdir(made.directory / "h") if name.startswith(".")]
    assert not left, "a probe or a private file was left behind"


def test_a_session_of_another_kernel_lives_by_its_heartbeat(share: Share) -> None:
    found = share.verdict
    assert (found.liveness, found.basis) == (Liveness.ALIVE, Basis.HEARTBEAT)
    assert 0 <= found.age < 5
    share.pass_time(20)
    assert 20 <= share.verdict.age < 25
    assert share.holders.sessions.renew(share.holder)
    assert share.verdict.age < 5
    assert isinstance(share.ours.claim("x", share.me), Held)
    assert share.signs("sighting") == []


def test_one_that_is_silent_is_watched_for_an_interval_and_then_dead(share: Share) -> None:
    share.pass_time(LEASE + 1)
    held = share.ours.claim("x", share.me)
    assert isinstance(held, Held)
    assert held.verdict.liveness is Liveness.UNKNOWN
    assert "10 s more" in held.verdict.evidence
    share.pass_time(LEASE / 3 - 1)
    assert share.liveness() is Liveness.UNKNOWN
    assert share.ours.reap().reaped == ()
    share.pass_time(2)
    assert share.verdict.inferred
    won = share.ours.claim("x", share.me)
    assert isinstance(won, Won)
    assert won.previous is not None
    assert won.verdict is not None
    assert won.verdict.inferred
    assert len(share.signs("sighting")) == 1


def test_a_judge_that_acts_on_silence_ends_the_session_first(share: Share) -> None:
    share.pass_time(LEASE + 1)
    assert share.liveness() is Liveness.UNKNOWN
    share.pass_time(LEASE / 3)
    assert isinstance(share.ours.claim("x", share.me), Won)
    assert share.verdict == Verdict(Liveness.DEAD, "the session has ended", Basis.REGISTRATION)
    assert not share.holders.sessions.renew(share.holder)
    assert not share.holders.sessions.resume(share.holder)
    assert isinstance(share.holders.release("x", share.holder), Refused)


def test_one_that_comes_back_in_the_last_moment_keeps_what_it_holds(share: Share, monkeypatch: pytest.MonkeyPatch) -> None:
    """It resumes after it was judged, and before it is ended."""
    share.pass_time(LEASE + 1)
    assert share.liveness() is Liveness.UNKNOWN
    share.pass_time(LEASE)
    publish = share.ours.backend.sessions.advance

    def too_late(session: str, expected: int, registration: Registration) -> bool:
        if registration.ended:
            assert share.holders.sessions.resume(share.holder)
        return publish(session, expected, registration)

    monkeypatch.setattr(share.ours.backend.sessions, "advance", too_late)
    held = share.ours.claim("x", share.me)
    assert isinstance(held, Held)
    assert held.verdict.liveness is Liveness.ALIVE
    assert share.holders.check("x", 1).current
    assert isinstance(share.holders.release("x", share.holder), Released)


def test_its_id_can_be_registered_anew_by_then_and_not_before(share: Share) -> None:
    share.pass_time(LEASE + 1)
    with pytest.raises(SessionAlive, match="silent for"):
        share.ours.sessions.register("h")
    share.pass_time(LEASE / 3 + 1)
    share.ours.sessions.register("h")
    assert not share.holders.sessions.renew(share.holder)


def test_the_reaper_releases_what_a_silent_session_held(share: Share) -> None:
    share.pass_time(LEASE + 1)
    assert share.ours.reap().kept == 1
    share.pass_time(LEASE / 3 + 1)
    swept = share.ours.reap()
    assert [(found.lease.session, found.verdict.basis) for found in swept.reaped] == [("h", Basis.HEARTBEAT)]
    assert not share.holders.sessions.resume(share.holder)


def test_a_silent_session_of_an_id_made_up_is_ended_before_it_is_forgotten(share: Share) -> None:
    silent = share.holders.sessions.register(lease_seconds=LEASE).holder
    share.pass_time(LEASE + 1)
    share.ours.reap()
    assert silent.session in share.ours.sessions.ids()
    share.pass_time(LEASE / 3 + 1)
    share.ours.reap()
    assert silent.session not in share.ours.sessions.ids()
    assert not share.holders.sessions.resume(silent)


@pytest.mark.parametrize("step", [3600, 86400 * 365])
def test_a_clock_that_is_set_forward_ends_nobody_who_lives(share: Share, step: float) -> None:
    share.pass_time(step)
    assert share.liveness() is Liveness.UNKNOWN
    share.pass_time(LEASE / 3 - 1)
    assert share.holders.sessions.renew(share.holder)
    share.pass_time(2)
    assert share.liveness() is Liveness.ALIVE
    share.pass_time(LEASE)
    assert share.liveness() is Liveness.UNKNOWN, "what was seen of an earlier beat says nothing about this one"


@pytest.mark.parametrize("step", [-3600, -86400 * 365])
def test_a_clock_that_is_set_back_wedges_nobody(share: Share, step: float) -> None:
    share.pass_time(step)
    assert share.liveness() is Liveness.UNKNOWN
    share.pass_time(LEASE + 5)
    assert share.liveness() is Liveness.UNKNOWN
    share.pass_time(LEASE / 3)
    assert share.verdict.inferred
    assert isinstance(share.ours.claim("x", share.me), Won)


def test_a_clock_that_is_set_back_ends_nobody_who_lives(share: Share) -> None:
    share.pass_time(-3600)
    assert share.liveness() is Liveness.UNKNOWN
    assert share.holders.sessions.renew(share.holder)
    share.pass_time(1)
    assert share.liveness() is Liveness.ALIVE


def test_a_clock_that_is_set_back_while_one_is_watched_starts_the_watch_anew(share: Share) -> None:
    share.pass_time(LEASE + 1)
    assert share.liveness() is Liveness.UNKNOWN
    share.pass_time(-3600)
    assert share.liveness() is Liveness.UNKNOWN
    share.pass_time(LEASE + LEASE / 3 + 1)
    assert share.verdict.inferred
    assert len(share.signs("sighting")) == 1


class Denied(Stepped):
    """As on Windows, where nothing replaces what somebody has open. `rivals`: whether it is another's sighting."""

    def __init__(self, *, rivals: bool) -> None:
        super().__init__()
        self.rivals = rivals

    def replace(self, private: str, public: str) -> None:
        if "sighting" not in public:
            return super().replace(private, public)
        if self.rivals:
            self.make_beat(public)
        raise PermissionError(errno.EACCES, "Access denied", public)


@pytest.mark.parametrize("rivals", [True, False])
def test_both_of_two_who_look_at_once_are_answered(share: Share, rivals: bool) -> None:
    """And where nobody's sighting is to be seen, it is not said that one is watched."""
    files = Denied(rivals=rivals)
    signs = DirectoryBackend(str(share.directory.parent), NATIVE_POLICY, files).sessions.signs
    registration = share.holders.sessions.registration(share.holder)
    assert registration
    if rivals:
        assert signs.silence(registration, watched=True).watched == 0.0
        files.ahead = 5.0
        assert 4.0 <= signs.silence(registration, watched=True).watched <= 6.0
    else:
        with pytest.raises(PermissionError):
            signs.silence(registration, watched=True)
    left = [name for name in os.listdir(share.directory / "h") if name.startswith(".")]
    assert not left


def test_a_judge_that_sleeps_between_two_looks_underestimates_the_age_of_a_beat(share: Share) -> None:
    share.files.stalls = 3600
    assert share.liveness() is Liveness.ALIVE
    share.files.stalls = 0
    assert share.holders.sessions.renew(share.holder)
    share.files.stalls = 3600
    share.pass_time(-1800)
    assert share.ours.reap().reaped == ()


def test_a_heartbeat_that_somebody_removed_is_no_death(share: Share) -> None:
    for name in share.signs("heartbeat"):
        os.unlink(share.directory / "h" / name)
    share.pass_time(10 * LEASE)
    found = share.verdict
    assert found.liveness is Liveness.UNKNOWN
    assert "heartbeat is missing" in found.evidence
    with pytest.raises(Unavailable, match="no heartbeat could be given"):
        share.holders.sessions.renew(share.holder)


def test_what_cannot_be_measured_is_no_death(share: Share, monkeypatch: pytest.MonkeyPatch) -> None:
    share.pass_time(10 * LEASE)

    def full(directory: str) -> int:
        raise OSError(28, "No space left on device", directory)

    monkeypatch.setattr(share.files, "now", full)
    found = share.verdict
    assert found.liveness is Liveness.UNKNOWN
    assert "No space left" in found.evidence


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_holder_that_was_late_says_on_a_full_disk_too_that_it_goes_on(
    share: Share, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(path: str, data: bytes, **_: object) -> None:
        raise OSError(number, os.strerror(number), path)

    before = share.holders.backend.sessions.read("h").generation
    with monkeypatch.context() as now:
        now.setattr(share.files, "create", full)
        assert share.holders.sessions.resume(share.holder)
        with pytest.raises(Unavailable):
            share.holders.sessions.stop(*share.holder)
    head = share.holders.backend.sessions.read("h")
    assert (head.generation, head.own and head.own.holder) == (before + 1, share.holder)
    assert share.liveness() is Liveness.ALIVE
    assert isinstance(share.holders.release("x", share.holder), Released)
    assert share.holders.sessions.stop(*share.holder)
    assert share.holders.sessions.registration(share.holder) is None


def test_without_a_promise_silence_says_nothing(share: Share) -> None:
    silent = share.holders.sessions.register("quiet").holder
    share.pass_time(86400)
    found = share.ours.sessions.verdict(*silent)
    assert (found.liveness, found.basis) == (Liveness.UNKNOWN, Basis.NOTHING)
    assert "promised no heartbeat" in found.evidence


def test_a_renewal_of_a_session_that_was_stopped_or_never_was_says_so(share: Share) -> None:
    assert share.ours.sessions.stop("h")
    assert not share.holders.sessions.renew(share.holder)
    assert not share.holders.sessions.resume(share.holder)
    assert not share.holders.sessions.renew(Holder("nobody", "1"))


def test_the_signs_of_an_earlier_incarnation_are_swept_when_they_are_old_and_ours_never(share: Share) -> None:
    share.pass_time(LEASE + 1)
    assert share.liveness() is Liveness.UNKNOWN
    share.pass_time(LEASE)
    later = share.ours.sessions.register("h", lease_seconds=LEASE).holder
    share.ours.reap()
    assert len(share.signs("heartbeat")) == 2
    share.pass_time(2 * 3600)
    share.ours.reap()
    assert share.signs("heartbeat") == [f"heartbeat-{later.incarnation}"]
    assert share.ours.sessions.renew(later)


def test_a_session_that_is_stopped_leaves_no_signs(share: Share) -> None:
    assert share.ours.sessions.stop("h")
    assert share.signs("heartbeat") == []


def test_what_a_registrar_left_who_died_before_it_was_published_is_swept(share: Share) -> None:
    promised = Registration("n", "0123456789abcdef01234567", 1, lease_seconds=LEASE)
    share.holders.backend.sessions.signs.promise(promised, locked=False)
    share.ours.reap()
    assert os.listdir(share.directory / "n") == ["heartbeat-0123456789abcdef01234567"]
    share.pass_time(2 * 3600)
    share.ours.reap()
    assert not (share.directory / "n").exists()


def test_a_session_that_loses_the_race_for_an_id_takes_its_signs_back(
    share: Share, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = share.holders.backend.sessions.advance

    def overtaken(session: str, expected: int, registration: Registration) -> bool:
        if session == "n" and registration.pid == 7:
            share.holders.sessions.register("n", pid=8, lease_seconds=LEASE)
        return publish(session, expected, registration)

    monkeypatch.setattr(share.holders.backend.sessions, "advance", overtaken)
    with pytest.raises(SessionAlive):
        share.holders.sessions.register("n", pid=7, lease_seconds=LEASE)
    incarnation = share.holders.sessions.holder("n").incarnation
    assert [name for name in os.listdir(share.directory / "n") if "heartbeat" in name] == [f"heartbeat-{incarnation}"]
