"""One bad record fails nobody else's verb: any bytes give a verdict, in every verb, and damaged counts as alive.

LOOOP_HOSTILE_RECORDS says how many records are tried (tox tries a few hundred).
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.capabilities import NATIVE

from looop_portable import Claims, Held, LooopError, Won
from looop_portable.cli import main
from looop_portable.protocol.liveness import Liveness
from looop_portable.protocol.records import Registration, lease_in, registration_in

RECORDS = int(os.environ.get("LOOOP_HOSTILE_RECORDS", "300"))
AT_ONCE = 100

NUMBERS: list[object] = [
    *(True, False, -1, 0, 1, 2, 3, 30, 1.5, -0.0, 1e308, 1e400, -1e400, 2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64),
    *(10**25, -(10**25), 10**399, os.getpid(), os.getppid(), [], {}, None, "1", "30"),
]
TEXTS: list[object] = [
    *(
        "",
        "i",
        "..",
        ".",
        "/",
        "../../../../etc/passwd",
        "a/b",
        "a\\b",
        "\x00",
        "i\x00j",
        "\n",
        "\x1b[2J",
        "\ud800",
        "\udcff",
    ),
    *(
        "é",
        "e\u0301",
        "\u202e",
        "x" * 255,
        "x" * 256,
        "x" * 5000,
        "looop:1@x",
        "looop:",
        "auto-x",
        "%2e%2e",
        "-",
        "~",
        "a" * 100,
    ),
    *(7, 1.5, True, None, [], {}, ["x"], {"a": "b"}),
]
TIMES: list[object] = [*TEXTS, "2026-01-01T00:00:00Z", "9" * 40, "0000-00-00T99:99:99Z"]
ANYTHING: list[object] = [*NUMBERS, *TEXTS]
FIELDS: dict[str, list[object]] = {
    **dict.fromkeys(("pid", "lease_seconds", "generation", "babysit_pid", "protocol"), NUMBERS),
    **dict.fromkeys(("incarnation", "start", "boot", "namespace", "host", "disk", "session", "name", "token"), TEXTS),
    **dict.fromkeys(("note", "user", "command"), TEXTS),
    **dict.fromkeys(("started_at", "claimed_at"), TIMES),
    **dict.fromkeys(("ended", "locked", "kept", "own", "foreign", "released", "adopted"), ANYTHING),
    "state": [*TEXTS, "running", "exited"],
}
RAW = [
    b"",
    b"{",
    b"{}",
    b"{}\n",
    b"null\n",
    b"[]",
    b"1" * 5000,
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b"\x00" * 4096,
    b"x" * (1 << 20),
]


class Hostile:
    """Records that nobody has written, but the good fields of one that somebody has."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def record(self, good: dict[str, object]) -> bytes:
        if self.random.random() < 0.05:
            return self.random.choice(RAW)
        record = dict(good) if self.random.random() < 0.8 else {}
        for field in self.random.sample(sorted(FIELDS), self.random.choice([1, 1, 1, 2, 3, 8])):
            record[field] = self.random.choice(FIELDS[field])
        data = json.dumps(record).encode() + b"\n"
        if self.random.random() < 0.05:
            data = data[: self.random.randrange(len(data))]
        return data


def good_registration(session: str) -> dict[str, object]:
    mine = Registration(session, "i", os.getpid(), "1", "b", "n", "h", "2026-01-01T00:00:00Z", lease_seconds=30, disk="d")
    return {**mine._asdict(), "generation": 1, "token": "t"}


def good_lease(name: str, session: str) -> dict[str, object]:
    return {"session": session, "name": name, "incarnation": "i", "host": "h", "generation": 1, "token": "t"}


def put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def plant(data_dir: Path, hostile: Hostile, number: int) -> tuple[str, str]:
    """A claim and a session, of which at least one record is hostile."""
    name, session = f"c{number}", f"s{number}"
    places: dict[str, tuple[str, dict[str, object]]] = {
        "registration": (f"sessions/.ledger/{session}/1", good_registration(session)),
        "lease": (f"claims/.ledger/{name}/1", good_lease(name, session)),
        "shown": (f"claims/{name}.json", {"session": session, "name": name}),
        "meta": (f"sessions/{session}/meta.json", {"babysit_pid": os.getpid(), "started_at": "2026-01-01T00:00:00Z"}),
        "status": (f"sessions/{session}/status.json", {"state": "running"}),
        "ticket": (f"claims/.queue/{name}/000000000001-t", good_registration("")),
    }
    bad = hostile.random.choice([*places, "registration", "lease"])
    for place, (path, good) in places.items():
        if place == bad:
            put(data_dir / path, hostile.record(good))
        elif place in ("registration", "lease") and hostile.random.random() < 0.8:
            put(data_dir / path, json.dumps(good).encode() + b"\n")
    return name, session


def asked(claims: Claims, name: str, session: str) -> Iterator[Callable[[], object]]:
    sessions = claims.sessions
    yield lambda: claims.show(name)
    yield lambda: claims.check(name, 1)
    yield lambda: sessions.status(session)
    yield lambda: sessions.verdict(session, "i")
    yield lambda: claims.claim(name, "me")
    yield lambda: claims.claim(name, session)
    yield lambda: claims.release(name, "me")
    yield lambda: claims.release(name, session)
    yield lambda: sessions.register(session)
    yield lambda: claims.break_claim(name, claims.show(name).generation, "test")
    yield lambda: sessions.stop(session)
    yield lambda: sessions.register(session)


def command(*args: str) -> int:
    """An exception that escapes it fails the test; so does a fault that it reports."""
    with pytest.raises(SystemExit) as end:
        main(args)
    assert end.value.code in (0, 1, 2, 3)
    return int(end.value.code)


def test_hostile_records_give_a_verdict_in_every_verb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOOOP_LEASE", "0")
    monkeypatch.delenv("LOOOP_SESSION_ID", raising=False)
    for at in range(0, RECORDS, AT_ONCE):
        data_dir = tmp_path / str(at)
        hostile, claims = Hostile(at), Claims.open(str(data_dir), NATIVE)
        good = claims.sessions.register("good").holder
        assert isinstance(claims.claim("good", good), Won)
        planted = [plant(data_dir, hostile, number) for number in range(at, min(at + AT_ONCE, RECORDS))]
        monkeypatch.setenv("LOOOP_DATA_DIR", str(data_dir))
        listed(capsys)
        for name, session in planted:
            if hostile.random.random() < 0.02:
                each(name, session, capsys)
            for ask in asked(claims, name, session):
                with contextlib.suppress(LooopError):  # Everything else is a failure of the test.
                    ask()
        listed(capsys)
        assert claims.sessions.verdict(*good).liveness is Liveness.ALIVE
        assert isinstance(claims.claim("good", "me"), Held)
        shutil.rmtree(data_dir)


def listed(capsys: pytest.CaptureFixture[str]) -> None:
    for args in (("claims",), ("session", "list"), ("--json", "claims"), ("--json", "session", "list")):
        command(*args)
        said = capsys.readouterr()
        assert "good" in said.out
        assert "a fault of looop itself" not in said.out + said.err
    for args in (("reap", "--dry-run"), ("reap",), ("events",)):
        command(*args)
        said = capsys.readouterr()
        assert "a fault of looop itself" not in said.out + said.err
        assert "reaped good" not in said.out


def each(name: str, session: str, capsys: pytest.CaptureFixture[str]) -> None:
    for args in (
        ("show", name),
        ("check", name, "--generation", "1", "--session", session),
        ("claim", name, "--session", session),
        ("unclaim", name, "--session", session),
        ("break", name, "--generation", "1", "--reason", "test"),
        ("session", "start", session, "--pid", str(os.getpid())),
        ("session", "keep", session),
        ("session", "stop", session),
    ):
        command(*args)
        said = capsys.readouterr()
        assert "a fault of looop itself" not in said.out + said.err, args


OUT_OF_RANGE: list[dict[str, Any]] = [
    *({"lease_seconds": value} for value in (10**399, 10**9, -1, True, 30.0, "30", [30], None)),
    *({"pid": value} for value in (2**63, 2**31, -1, True, 1.0, "1", [1], None)),
    *(
        {"incarnation": value}
        for value in ("i\x00", "..", ".", "a/b", "a\\b", "../../x", "\n", "é", "i" * 101, 7, None, ["i"])
    ),
    *(
        {field: value}
        for field in ("start", "boot", "namespace", "disk")
        for value in ("\x1b[2J", "x" * 1001, 7, ["x"], True)
    ),
]


@pytest.mark.parametrize("fields", OUT_OF_RANGE, ids=lambda fields: ascii(fields)[:40])
def test_a_registration_that_nobody_writes_is_damaged_holds_and_can_be_stopped(
    tmp_path: Path, fields: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = Claims.open(str(tmp_path), NATIVE)
    bad, good = claims.sessions.register("bad").holder, claims.sessions.register("good").holder
    for name, holder in (("b", bad), ("g", good)):
        assert isinstance(claims.claim(name, holder), Won)
    path = tmp_path / "sessions" / ".ledger" / "bad" / "1"
    record = json.loads(path.read_bytes()) | fields
    path.unlink()
    path.write_text(json.dumps(record) + "\n")
    assert registration_in("bad", path.read_bytes()).incarnation == ""
    monkeypatch.setenv("LOOOP_DATA_DIR", str(tmp_path))
    for args in (("claims",), ("session", "list"), ("reap",)):
        assert command(*args) == 0
        said = capsys.readouterr()
        assert "damaged" in said.out or args == ("reap",)
    held = claims.claim("b", "me")
    assert isinstance(held, Held)
    assert held.verdict.liveness is Liveness.UNKNOWN
    assert command("session", "stop", "bad") == 0
    assert isinstance(claims.claim("b", "me"), Won)
    assert isinstance(claims.claim("g", "me"), Held)


@pytest.mark.parametrize("incarnation", ["../../x", "a/b", "\x00", "i" * 300, 7, ["i"]])
def test_a_lease_s_incarnation_that_nobody_writes_leads_nowhere(incarnation: object) -> None:
    record = json.dumps({"session": "s", "name": "n", "incarnation": incarnation, "generation": 1}).encode()
    lease = lease_in(record, "n", 1)
    assert lease is not None
    assert (lease.session, lease.incarnation) == ("s", "")


def test_a_keeper_s_record_is_no_licence_to_end_other_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To a system, the process 0 is all those of our own group, and -1 is everybody."""
    from looop_portable.errors import Unavailable
    from looop_portable.protocol.records import Holder
    from looop_portable.running import keepers
    from looop_portable.system.processes import host

    holder, mine = Holder("s", "i"), keepers.Keepers(str(tmp_path))
    ended: list[object] = []
    monkeypatch.setattr(os, "kill", lambda *args: ended.append(args))
    taken = mine.begin(holder)
    assert taken is not None
    try:
        for pid in (0, -1, True, 2**31, 2**63, 10**400, 1.0, "1"):
            record = {"pid": pid, "start": "1", "host": host()}
            Path(f"{mine.base(holder)}.json").unlink()
            Path(f"{mine.base(holder)}.json").write_text(json.dumps(record))
            with pytest.raises(Unavailable):
                mine.end(holder)
            assert mine.pid(holder) == 0
    finally:
        os.close(taken)
    assert ended == []


def test_a_lease_s_session_that_nobody_can_have_leads_nowhere(tmp_path: Path) -> None:
    """Nothing is looked for, or written, where such an id would lead."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "heartbeat-i").write_bytes(b".")
    data_dir = tmp_path / "data"
    claims = Claims.open(str(data_dir), NATIVE)
    me = claims.sessions.register("me").holder
    put(data_dir / "claims/.ledger/n/1", json.dumps(good_lease("n", "../../victim")).encode() + b"\n")
    before = victim.stat().st_mtime_ns
    assert not claims.backend.sessions.signs.has_beat("../../victim", "i")
    assert isinstance(claims.claim("n", me), Won)
    assert os.listdir(victim) == ["heartbeat-i"]
    assert victim.stat().st_mtime_ns == before
