"""How long a name, an id, a note may be: nothing is published that whoever reads takes for no record."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.capabilities import FILE_BACKENDS, NATIVE, NATIVE_POLICY, open_or_skip

from looop_portable import Claims, Held, InvalidName, Lease, Unavailable, Won, hold
from looop_portable.backends.memory import MemoryBackend
from looop_portable.errors import UsageError
from looop_portable.ledger.ledger import Ledger
from looop_portable.protocol.codec import LARGEST, encode
from looop_portable.protocol.names import LONGEST_NAME, canonical
from looop_portable.protocol.records import LONGEST_LEASE, Holder
from looop_portable.system import processes
from looop_portable.system.opening import descriptors

ASTRAL = "\U0001f512"
TOO_LONG = {
    "letters": "n" * 1_050_000,
    "one too many": "n" * (LONGEST_NAME + 1),
    "of four bytes each": ASTRAL * 32_000,
    "surrogates": "\udcff" * 50_000,
    "longer when composed": "\U0001d160" * (LONGEST_NAME // 2),
    "with a slash": "n" * 1_050_000 + "/",
}


@pytest.fixture(params=[*FILE_BACKENDS, "memory"])
def claims(request: pytest.FixtureRequest, tmp_path: Path) -> Claims:
    return open_or_skip(request.param, tmp_path / "data")


@pytest.fixture
def own_host() -> Iterator[None]:
    """Who this host is, is asked anew, here and after it."""
    known = dict(processes._known)
    processes._known.clear()
    processes.host.cache_clear()
    yield
    processes._known.clear()
    processes._known.update(known)
    processes.host.cache_clear()


def two(claims: Claims) -> tuple[Holder, Holder]:
    return claims.sessions.register("a").holder, claims.sessions.register("b").holder


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(InvalidName) as refusal:
        call()
    message = str(refusal.value)
    assert len(message) < 2_000
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", TOO_LONG.values(), ids=TOO_LONG)
def test_a_name_that_is_too_long_is_refused_by_every_verb(claims: Claims, name: str) -> None:
    a, _ = two(claims)
    for verb in (
        lambda: claims.claim(name, a),
        lambda: claims.release(name, a),
        lambda: claims.check(name, 1),
        lambda: claims.show(name),
        lambda: claims.break_claim(name, 1, "why"),
        lambda: hold(name),
    ):
        refused(verb)
    assert claims.list() == []


@pytest.mark.parametrize("session", TOO_LONG.values(), ids=TOO_LONG)
def test_a_session_id_that_is_too_long_is_refused_by_every_verb(
    claims: Claims, session: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for verb in (
        lambda: claims.sessions.register(session),
        lambda: claims.sessions.stop(session),
        lambda: claims.claim("n", session),
        lambda: claims.release("n", session),
    ):
        refused(verb)
    monkeypatch.setattr(
        "looop_portable.sessions.ids.session_id", lambda given: session
    )  # More than an environment can hold.
    refused(lambda: claims.claim("n"))
    assert claims.sessions.statuses() == []


@pytest.mark.parametrize("letter", ["n", "\u00e9", ASTRAL, '"', "\x01"])
def test_the_longest_names_exclude(claims: Claims, letter: str) -> None:
    name = letter * LONGEST_NAME
    assert canonical(name) == name
    a, b = two(claims)
    session = claims.sessions.register(letter * LONGEST_NAME).holder if letter.isprintable() else a
    assert isinstance(claims.claim(name, session), Won)
    assert isinstance(claims.claim(name, b), Held)
    assert [status.name for status in claims.list()] == [name]
    assert claims.sessions.verdict(*session).liveness.value == "alive"
    claims.retire(session)
    assert isinstance(claims.claim(name, b), Won)


def test_a_holder_that_nobody_could_read_is_not_published(tmp_path: Path) -> None:
    """Whoever calls with a holder of his own making has not been asked what he is called."""
    claims = Claims.open(str(tmp_path), NATIVE)
    refused(lambda: claims.claim("n", Holder("s" * 1_100_000, "i")))
    refused(lambda: claims.claim("n", Holder("s", "i" * 1_100_000)))
    assert claims.show("n").generation == 0


def test_what_is_encoded_is_what_can_be_read(tmp_path: Path) -> None:
    assert descriptors._LARGEST == LARGEST
    most = LARGEST - len(encode({"name": ""}))
    path = tmp_path / "record"
    path.write_bytes(encode({"name": "n" * most}))
    fd = os.open(path, os.O_RDONLY)
    try:
        assert len(descriptors.read(fd)) == LARGEST
    finally:
        os.close(fd)
    for record in ({"name": "n" * (most + 1)}, {"name": [["n" * most]]}):
        refused(lambda record=record: encode(record))  # type: ignore[misc]


def test_a_ledger_publishes_nothing_that_is_too_large(tmp_path: Path) -> None:
    ledger = Ledger(f"{tmp_path}/ledger", policy=NATIVE_POLICY)
    refused(lambda: ledger.advance("n", 0, {"session": "s" * LARGEST}))
    assert ledger.head("n") == (0, b"")
    assert ledger.advance("n", 0, {"session": "s"})


def test_a_registration_that_would_be_damaged_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = Claims.open(str(tmp_path), NATIVE).sessions
    monkeypatch.setattr(sessions, "_nonce", lambda: "../../x")
    refused(lambda: sessions.register("s"))
    monkeypatch.undo()
    assert sessions.register("s").session == "s"


@pytest.mark.parametrize(
    "lease",
    [-1, LONGEST_LEASE + 1, 10**400, 10**5000, -(10**5000), 4.5, True, "30"],
    ids=lambda lease: type(lease).__name__,
)
def test_a_lease_that_no_record_can_say_is_refused(claims: Claims, lease: int) -> None:
    with pytest.raises(UsageError) as refusal:
        claims.sessions.register("s", lease_seconds=lease)
    assert len(str(refusal.value)) < 400
    with pytest.raises(UsageError):
        hold("n", lease_seconds=lease)


def test_a_host_with_a_long_name_registers_and_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_host: None
) -> None:
    class Long:
        nodename = "h" * 10_000

    monkeypatch.setattr(os, "uname", Long, raising=False)
    if sys.platform == "win32":
        monkeypatch.setattr("looop_portable.system.processes.kernel_windows.name", lambda: Long.nodename)
    claims = Claims.open(str(tmp_path), NATIVE)
    a, b = two(claims)
    assert isinstance(claims.claim("n", a), Won)
    assert isinstance(claims.claim("n", b), Held)
    assert len(json.loads(next(tmp_path.glob("claims/.ledger/n/1")).read_bytes())["host"]) == 255


@pytest.mark.parametrize("given", ["h" * 1_100_000, "h\x01", "h\n", "\udcff", ASTRAL * 300])
def test_an_identity_that_no_record_should_have_is_an_identity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_host: None, given: str
) -> None:
    monkeypatch.setattr("os.environ", {**os.environ, "LOOOP_HOST_ID": given})
    claims = Claims.open(str(tmp_path), NATIVE)
    a, b = two(claims)
    assert isinstance(claims.claim("n", a), Won)
    held = claims.claim("n", b)
    assert isinstance(held, Held)
    assert f"pid {os.getpid()} runs" in held.verdict.evidence
    first = processes.SYSTEM.here().boot
    assert len(first) < 256
    processes._known.clear()
    monkeypatch.setattr("os.environ", {**os.environ, "LOOOP_HOST_ID": f"{given}x"})
    assert processes.SYSTEM.here().boot != first


def test_a_note_that_is_too_long_is_refused_and_breaks_nothing(claims: Claims) -> None:
    a, _ = two(claims)
    claims.claim("n", a)
    refused(lambda: claims.break_claim("n", 1, "r" * 1_100_000))
    assert claims.show("n").lease


def test_what_an_older_version_has_made_with_longer_names_holds_while_it_lives_and_is_reaped(tmp_path: Path) -> None:
    """It knew no such limit. Nobody can ask for these names any more, but they are nobody else's either."""
    claims, other = Claims.open(str(tmp_path), NATIVE), Claims.open(str(tmp_path), NATIVE)
    name, session = "n" * 3_000, "s" * 3_000
    mine = claims.sessions.register("mine")._replace(session=session)
    assert claims.backend.sessions.advance(session, 0, mine)
    for each in ("m", name):
        assert claims.backend.advance(each, 0, Lease(each, session, mine.incarnation, 1))
    assert isinstance(other.claim("m", "b"), Held)
    assert sorted(status.name for status in other.list()) == ["m", name]
    assert other.reap().reaped == ()
    assert claims.backend.sessions.advance(session, 1, mine._replace(ended=True))
    swept = other.reap()
    assert (sorted(found.lease.name for found in swept.reaped), swept.failed) == (["m", name], ())
    assert other.list() == []


def test_what_may_have_been_won_is_remembered_of_the_latest_claims_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(claim: str, expected: int, lease: Lease | None) -> bool:
        raise Unavailable(f"claim {claim}: no answer")

    backend = MemoryBackend()
    claims, me = Claims(backend), Holder("me", "i1")
    monkeypatch.setattr(backend, "advance", fails)
    for number in range(1010):
        with pytest.raises(Unavailable):
            claims.claim(f"n{number}", me)
    assert [name for name, _ in claims.tried] == [f"n{number}" for number in range(10, 1010)]
