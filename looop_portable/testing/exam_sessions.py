"""The part of the exam about registrations: who registers an id, what is read of it, what is listed, what is forgotten."""

from __future__ import annotations

from looop_portable.backends.base import Backend
from looop_portable.errors import LooopError, SessionAlive, Unavailable
from looop_portable.protocol.records import Head, Registration
from looop_portable.sessions.registrar import Sessions
from looop_portable.testing.examiner import ROUNDS, Reopen, at_once, enter, far, lease, starting_line

ODD_IDS = ("con", "a.", "a b", "50%", "%41", "x" * 300, "\u00e9t\u00e9", 'q"<>|*?:', "-", "~", "json.json")

_PLAIN = far("plain")
_FULL = far("full")._replace(
    incarnation="1-of-all",
    pid=2**31 - 1,
    start="123.456",
    boot="0f3c-11",
    namespace="pid:[4026531836]",
    host="h\u00f4te " * 30,
    lease_seconds=86400,
    disk="plan9 ext4 8:1",
    locked=True,
    kept=True,
    own=True,
    heirs=True,
)
_BARE = Registration("bare", "i", 1)


class SessionExam:
    """The laws of `SessionStore`."""

    def test_one_of_many_registrations_of_one_id_wins(self, reopen: Reopen) -> None:
        law = "law: of all that register one id at once one wins"
        for turn in range(8):
            published: list[Registration] = []
            told: list[Registration] = []
            start = starting_line()

            def work(worker: int, turn: int = turn, published=published, told=told, start=start) -> None:  # type: ignore[no-untyped-def]
                store = reopen().sessions
                mine = far(f"id{turn}", worker)
                start.wait()
                if store.advance(mine.session, 0, mine):
                    published.append(mine)
                try:
                    told.append(Sessions(store).register(f"name{turn}"))
                except (SessionAlive, Unavailable):
                    return

            at_once(work, start)
            stands = reopen().sessions.read(f"id{turn}").own
            assert published == [stands], f"{law}: {len(published)} did ({published}), and {stands} stands there"
            stands = reopen().sessions.read(f"name{turn}").own
            assert told == [stands], f"{law}: {len(told)} sessions were told so ({told}), and {stands} stands there"

    def test_registering_is_a_compare_and_set_too(self, reopen: Reopen) -> None:
        store = reopen().sessions
        registration = Sessions(store).register("w1")
        head = store.read("w1")
        law = "law: who registers after a number that is not the latest loses, and changes nothing"
        assert head.own == registration
        for expected in (head.generation - 1, head.generation + 1):
            assert not store.advance("w1", expected, registration._replace(incarnation="other")), f"{law}: {expected} won"
        assert reopen().sessions.read("w1") == head, law
        assert reopen().sessions.ids() == ["w1"]
        assert store.read("nobody").own is None

    def test_what_one_opening_registers_another_that_has_read_before_reads(self, reopen: Reopen) -> None:
        store, other = reopen().sessions, reopen().sessions
        for number in range(3):
            head = other.read("w1")
            assert store.advance("w1", head.generation, far("w1", number))
            own = other.read("w1").own
            assert own == far("w1", number), f"law: what is read is the latest that is registered: it is {own}"
            assert other.ids() == ["w1"]

    def test_an_ended_one_s_id_starts_anew(self, reopen: Reopen) -> None:
        sessions = Sessions(reopen().sessions)
        law, old = "law: an id whose session has ended starts anew", sessions.register("w1")
        try:
            found: object = Sessions(reopen().sessions).register("w1")
        except LooopError as error:
            found = error
        assert isinstance(found, SessionAlive), f"law: an id whose session lives is refused: {found!r}"
        assert sessions.stop("w1")
        ended = reopen().sessions.read("w1").own
        assert ended == old._replace(ended=True), f"law: who has ended is read so: {ended}"
        new = Sessions(reopen().sessions).register("w1")
        assert new.incarnation != old.incarnation, f"{law}: both are incarnation {new.incarnation}"
        assert sessions.verdict(*old.holder).dead, f"{law}: the old one lives by the new one's registration"
        assert not sessions.verdict(*new.holder).dead, f"{law}: the new one is dead by the old one's end"
        assert reopen().sessions.read("w1").own == new

    def test_what_is_read_is_what_was_written_whole(self, reopen: Reopen) -> None:
        for written in (_PLAIN, _FULL, _BARE, _FULL._replace(session="ended", ended=True)):
            assert reopen().sessions.advance(written.session, 0, written)
            found = reopen().sessions.read(written.session).own
            assert found == written, f"law: what is read is what was written, whole: {found} instead of {written}"

    def test_any_id_can_be_registered_and_is_told_apart(self, reopen: Reopen) -> None:
        for number, session in enumerate(ODD_IDS):
            assert reopen().sessions.advance(session, 0, far(session, number)), f"law: any id can be registered: {session}"
        found = reopen().sessions.ids()
        assert found == sorted(ODD_IDS), f"law: a scan lists what is there and nothing else: {found}"
        for number, session in enumerate(ODD_IDS):
            own = reopen().sessions.read(session).own
            assert own == far(session, number), f"law: ids are told apart: {session} is {own}"

    def test_a_scan_of_sessions_lists_what_is_there_and_nothing_else(self, reopen: Reopen) -> None:
        """Those that have ended too, while they are not forgotten; not what was only promised, asked for or lined up."""
        backend = reopen()
        store, law = backend.sessions, "law: a scan lists what is there and nothing else"
        assert (found := store.ids()) == [], f"{law}: {found} where nobody was registered"
        for session in ("b", "a", "c"):
            enter(store, far(session))
        assert Sessions(store).stop("b")
        assert store.read("asked-for").own is None
        assert backend.advance("of-a-claim", 0, lease("of-a-claim", "a"))
        found = reopen().sessions.ids()
        assert found == ["a", "b", "c"], f"{law}: {found} instead of a, b, c"

    def test_a_scan_while_others_come_and_go_lists_all_that_stay(self, reopen: Reopen) -> None:
        backend = reopen()
        staying = sorted(f"stays{number}" for number in range(5))
        for name in staying:
            enter(backend.sessions, far(name))
            assert backend.advance(name, 0, lease(name, name))

        line = starting_line()

        def looks(store: Backend) -> None:
            for found in (store.claims(), store.sessions.ids()):
                missing = set(staying).difference(found)
                assert not missing, f"law: a scan lists all that stays while others come and go: not {missing}"

        def work(worker: int) -> None:
            """Half of them come, and go while the other half looks; and once more when all have come."""
            mine, name = reopen(), f"goes{worker}"
            for turn in range(ROUNDS // 5):
                if worker % 2:
                    assert mine.advance(name, 2 * turn, lease(name)), name
                    line.wait()
                    line.wait()
                    assert mine.advance(name, 2 * turn + 1, None), name
                    assert mine.sessions.advance(name, turn, far(name, turn)), name
                else:
                    looks(mine)
                    line.wait()
                    looks(mine)
                    line.wait()

        at_once(work, line)

    def test_forget_removes_an_id_and_nothing_else(self, reopen: Reopen) -> None:
        store = reopen().sessions
        kept = enter(store, far("kept"))
        had_beat = store.signs.has_beat(*kept.holder)
        gone = Sessions(store).register(lease_seconds=30)  # An id that is made up, as all are that anybody forgets.
        assert Sessions(store).stop(*gone.holder)
        for _ in range(2):
            store.forget(gone.session)  # What is gone is no error.
        law, fresh = f"law: forget removes a made-up id: '{gone.session}'", reopen().sessions
        assert (found := fresh.read(gone.session).own) is None, f"{law} is {found}"
        assert gone.session not in (found_ids := fresh.ids()), f"{law} is in {found_ids}"
        assert fresh.absent(gone.session), f"{law} may be there"
        assert not fresh.signs.has_beat(*gone.holder), f"{law} has a heartbeat"
        assert Sessions(fresh).verdict(*gone.holder).dead, f"{law} is not dead"
        law = "law: forget removes nothing else"
        assert fresh.ids() == ["kept"], f"{law}: {fresh.ids()} are left"
        assert not fresh.absent("kept"), f"{law}: 'kept' is absent"
        assert fresh.read("kept").own == kept, f"{law}: 'kept' is {fresh.read('kept').own}"
        assert fresh.signs.has_beat(*kept.holder) == had_beat, f"{law}: the heartbeat of 'kept'"

    def test_the_numbers_of_what_was_forgotten_never_matter(self, reopen: Reopen) -> None:
        """Whatever number an id begins with again, it is another incarnation, and the first one's leases are nobody's."""
        backend = reopen()
        store = backend.sessions
        old = enter(store, far("auto-1"))
        assert Sessions(store).stop(*old.holder)
        assert backend.advance("repo-x", 0, lease("repo-x", *old.holder))
        store.forget(old.session)
        new = enter(reopen().sessions, far("auto-1", 2))
        law, fresh = "law: the numbers of what was forgotten never matter", Sessions(reopen().sessions)
        assert reopen().sessions.read("auto-1").own == new, law
        assert fresh.verdict(*old.holder).dead, f"{law}: {old.holder} lives, by the registration of {new.holder}"
        assert not fresh.verdict(*new.holder).dead, f"{law}: {new.holder} is dead"
        assert reopen().read("repo-x") == Head(1, lease("repo-x", *old.holder)._replace(generation=1))
