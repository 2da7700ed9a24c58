"""The part of the exam about life: heartbeats, and (`exam_sessions`) the registrations that they are of.

    class TestLifeInMine(LifeExam):
        @pytest.fixture
        def reopen(self, tmp_path):
            return lambda: MyBackend(str(tmp_path))

`BackendExam` has all of it. A backend that keeps no heartbeats (in one process's memory whoever could ask is the process
that would give them) says of each session that it was never silent, and is not asked for more.
Does not see: a store's clock that is set, or that runs too fast by less than `grain` tells; what a store does in
a silence of longer than a second.
"""

from __future__ import annotations

import time

from looop_portable.backends.base import Backend
from looop_portable.claims.gate import Claims
from looop_portable.errors import Unavailable
from looop_portable.protocol.liveness import Lock
from looop_portable.protocol.outcomes import Held
from looop_portable.protocol.records import Registration
from looop_portable.sessions.registrar import Sessions
from looop_portable.system.clock import elapsed
from looop_portable.testing.exam_sessions import SessionExam
from looop_portable.testing.examiner import (
    ROUNDS,
    Reopen,
    at_once,
    beat,
    enter,
    far,
    heard,
    is_never_older,
    keeps_beats,
    lease,
    registered,
    starting_line,
)

__all__ = ["LifeExam"]


class LifeExam(SessionExam):
    """The laws of `Signs`, and those of `SessionStore`."""

    patience = 10.0
    """Seconds for which a store that is asked again and again may hear nothing new: some clocks tick every two seconds."""

    grain = 0.1
    """Seconds by which the store's clock may be coarse, and what is heard may seem older than it is. A backend whose clock
    ticks by whole seconds says so here; its tests take longer.
    """

    @property
    def _pause(self) -> float:
        """Seconds in which nobody beats, so that a silence is told from a beat."""
        return 3 * self.grain

    def cut_off(self, backend: Backend) -> Backend | None:
        """The store of `backend`, opened so that it can be asked and never answers. None: that cannot be made.

        For whoever inherits the exam: without it, nobody sees what becomes of a beat that fails. See `faults`.
        """
        return None

    def test_what_is_heard_is_never_older_than_the_beat(self, reopen: Reopen) -> None:
        store, other = reopen().sessions, reopen().sessions
        began = elapsed()
        me = enter(store, far("me"))
        is_never_older(store, me, began, "a promise", self.grain)
        for _ in range(3):
            began = beat(store, me)
            for each in (store, other, reopen().sessions):
                is_never_older(each, me, began, "a beat", self.grain)
        time.sleep(self._pause)
        for each in (store, other):
            is_never_older(each, me, began, "a beat", self.grain)

    def test_a_beat_resets_the_silence(self, reopen: Reopen) -> None:
        """Also one that is watched, by this opening of the store and by another."""
        store, other = reopen().sessions, reopen().sessions
        me = enter(store, far("me"))
        for watched in (False, True):
            heard(other, me, watched=watched)
            time.sleep(self._pause)
            began = beat(store, me)
            for each in (store, other):
                is_never_older(each, me, began, "a beat", self.grain)

    def test_a_silence_grows_while_nobody_beats(self, reopen: Reopen) -> None:
        """Else nobody's claim would ever be taken over. Where no other host can be, nobody has to be heard."""
        store = reopen().sessions
        me = enter(store, far("me"))
        if not keeps_beats(store, me, self._pause):
            law = "law: where other hosts may reach the store, a silence is heard"
            assert store.signs.disk(), f"{law}: there is none, and no disk that only this system has"
        else:
            began = elapsed()
            while min(found := heard(store, me, watched=True)) <= 2 * self.grain:
                told = f"heard {min(found):g} s {elapsed() - began:.1f} s after it was first looked for"
                assert elapsed() - began < self.patience, f"law: a silence that lasts is heard: {told}"
                time.sleep(0.02)

    def test_the_beat_of_another_session_is_not_ours(self, reopen: Reopen) -> None:
        self._is_not_ours(reopen, far("another"))

    def test_the_beat_of_another_incarnation_is_not_ours(self, reopen: Reopen) -> None:
        self._is_not_ours(reopen, far("me", 2))

    def _is_not_ours(self, reopen: Reopen, another: Registration) -> None:
        store, other = reopen().sessions, reopen().sessions
        me = enter(store, far("me"))
        if not keeps_beats(store, me, self._pause):
            return
        another, law = enter(other, another), "law: the beat of another is not ours"
        beat(other, another)
        for who in (far("nobody"), far(another.session, 3)):
            assert not store.signs.has_beat(*who.holder), f"{law}: {who.holder} has one, though it never gave any"
        began, seconds, theirs = elapsed(), 0.0, 0.0
        while seconds <= theirs + self.grain:
            told = f"heard {seconds:g} s of {me.holder}, silent for {elapsed() - began:.1f} s, while {another.holder} beats"
            assert elapsed() - began < self.patience, f"{law}: {told}"
            time.sleep(0.02)
            last = beat(other, another)
            seconds, theirs = max(heard(store, me)), elapsed() - last

    def test_a_beat_makes_what_is_missing_or_says_that_it_cannot(self, reopen: Reopen) -> None:
        store = reopen().sessions
        taken_back = store.signs.promise(far("taken-back"), locked=False)
        store.signs.unpromise(taken_back)
        assert not store.signs.has_beat(*taken_back.holder), (
            "law: what was promised, and taken back, is gone: it has a beat"
        )
        for session in (taken_back, far("never-promised")):
            began = elapsed()
            try:
                store.signs.beat(*session.holder)
            except (OSError, Unavailable):
                continue
            is_never_older(store, session, began, "a beat that made what was missing", self.grain)

    def test_a_beat_that_was_given_is_remembered(self, reopen: Reopen) -> None:
        """A lease whose registration was removed, though its session beats, is nobody else's."""
        store = reopen().sessions
        me = store.signs.promise(far("me"), locked=False)
        beat(store, me)
        if keeps_beats(store, me, self._pause):
            law = "law: a beat that was given is remembered"
            assert reopen().sessions.signs.has_beat(*me.holder), f"{law}: of {me.holder} nothing is known"
            verdict = Sessions(reopen().sessions).verdict(*me.holder)
            assert not verdict.dead, f"{law}: {me.holder} beats, has no registration, and is dead: {verdict}"

    def test_the_silence_of_one_that_never_beat_is_no_death(self, reopen: Reopen) -> None:
        store = reopen().sessions
        for boot in ("", "another kernel"):
            mute = far(f"mute{len(boot)}", boot=boot)
            began = elapsed()
            assert store.advance(mute.session, 0, mute)
            time.sleep(0.02)
            try:
                found = tuple(store.signs.silence(mute, watched=True))
            except (OSError, Unavailable):
                found = ()
            law, truth = "law: the silence of one that never beat is no death", elapsed() - began
            assert all(seconds <= truth + self.grain for seconds in found), (
                f"{law}: heard {max(found):g} s of a session that was registered {truth:.1f} s ago"
            )
            verdict = Sessions(reopen().sessions).evidence.examine(mute)
            assert not verdict.dead, f"{law}: {verdict}"

    def test_a_beat_that_cannot_be_given_is_told(self, reopen: Reopen) -> None:
        backend = reopen()
        me = enter(backend.sessions, far("me"))
        cut_off = self.cut_off(backend)
        if cut_off is None:
            return
        for ask in (lambda store: store.signs.beat(*me.holder), lambda store: Sessions(store).renew(me.holder)):
            try:
                ask(cut_off.sessions)
            except (OSError, Unavailable):
                continue
            raise AssertionError("law: a beat that fails raises Unavailable: it returned, from a store that never answers")
        verdict = Sessions(cut_off.sessions).evidence.examine(me)
        assert not verdict.dead, f"law: who cannot be asked for is not dead: {verdict}"

    def test_a_lock_that_was_promised_is_held_while_its_process_lives(self, reopen: Reopen) -> None:
        """Where there is one. A lock that seems free proves that its process has executed another program since."""
        store = reopen().sessions
        me = Sessions(store).register("me", locked=True)
        if me.locked:
            for each in (store, reopen().sessions):
                lock = each.signs.lock(me)
                assert lock is Lock.HELD, f"law: a lock that was promised is held while its process lives: {lock.value}"
        verdict = Sessions(reopen().sessions).verdict(*me.holder)
        assert not verdict.dead, f"law: whose process lives is not dead: {me.holder} is: {verdict}"

    def test_each_of_many_threads_is_heard(self, reopen: Reopen) -> None:
        """Each by its own heartbeat; and one session, whose heartbeat they all give."""
        ours, line = enter(reopen().sessions, far("ours")), starting_line()

        def work(worker: int) -> None:
            store = reopen().sessions
            me = enter(store, far(f"w{worker}"))
            for _ in range(ROUNDS // 8):
                for session in (me, ours):
                    line.wait()
                    began = beat(store, session)
                    line.wait()
                    is_never_older(store, session, began, "a beat, one of many at once,", self.grain)

        at_once(work, line)

    def test_a_session_that_beats_keeps_what_it_holds(self, reopen: Reopen) -> None:
        """As another host sees it, which sees nothing but the heartbeat, or that its kernel is another."""
        for boot in ("", "another kernel"):
            backend, other = reopen(), Claims(reopen())
            me = enter(backend.sessions, far(f"me{len(boot)}", boot=boot))
            name = f"of {me.session}"
            assert backend.advance(name, 0, lease(name, *me.holder))
            her = registered(other, f"her{len(boot)}")
            for _ in range(2):
                other.claim(name, her)
                time.sleep(self._pause / 2)
                beat(backend.sessions, me)
                outcome = other.claim(name, her)
                law = "law: who beats keeps what it holds"
                assert isinstance(outcome, Held), f"{law}: {me.holder} beats, and another has it too: {outcome}"
                reaped = other.reap().reaped
                assert not reaped, f"{law}: {me.holder} beats, and its claim was released: {reaped}"
