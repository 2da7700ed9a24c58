"""Whatever stands in the store, bytes or file types, there is an answer or a `LooopError`: no other exception, no hang."""

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.capabilities import FIFOS, NAMES_OF_ANY_CHARACTER, NATIVE, SYMLINKS, needs_symlinks

from looop_portable import Claims, Held, LooopError, Standing, Won
from looop_portable.protocol.codec import decode, encode, number, text
from looop_portable.protocol.liveness import Liveness
from looop_portable.protocol.records import Head, lease_in, record_of

MANY = int(os.environ.get("MANY_EXAMPLES", "1"))
"""How many times as many are tried as in every run: `tox -e fuzz`."""

pytestmark = pytest.mark.timeout(120 * MANY)

PLACES = [
    "claims/n.json",
    "claims/.ledger/n/1",
    "claims/.ledger/n/2",
    "claims/.ledger/.protocol.json",
    "sessions/s/meta.json",
    "sessions/s/status.json",
    "sessions/.ledger/s/1",
    "sessions/.ledger/s/2",
    "sessions/.ledger/.protocol.json",
]
DIRECTORIES = [
    "claims",
    "claims/.ledger",
    "claims/.ledger/n",
    "sessions",
    "sessions/s",
    "sessions/.ledger",
    "sessions/.ledger/s",
]
KINDS = [
    *("file", "directory", "full directory"),
    *(("dangling", "loop", "link to a file", "link to a directory") if SYMLINKS else ()),
    *(("fifo",) if FIFOS else ()),
]
"""Those that can be made here."""

SLOW = settings(
    deadline=None, max_examples=40 * MANY, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 3),
    st.sampled_from([2**31, 2**63, 10**25, -(10**25), 10**4000, 1e400, 0.5]),
    st.text(max_size=5),
    st.sampled_from(
        ["s", "n", "me", "..", "../../x", "a/b", "\ud800", "\x00", "é", "e\u0301", "x" * 300, "running", "exited"]
    ),
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
)
KEYS = st.sampled_from(
    [
        "session",
        "name",
        "incarnation",
        "claimed_at",
        "host",
        "note",
        "user",
        "command",
        "released",
        "generation",
        "token",
        "pid",
        "start",
        "boot",
        "namespace",
        "started_at",
        "ended",
        "disposable",
        "protocol",
        "links",
        "id",
        "cmd",
        "babysit_pid",
        "state",
        "child_pid",
    ]
)
records = st.dictionaries(KEYS | st.text(max_size=3), values, max_size=8).map(json.dumps)
CONTENT = st.one_of(
    st.binary(max_size=40),
    records.map(str.encode),
    st.tuples(records, st.sampled_from(["utf-16", "utf-32", "utf-8-sig", "utf-16-be"])).map(lambda p: p[0].encode(p[1])),
    st.tuples(records.map(str.encode), st.integers(0, 60)).map(lambda p: p[0][: p[1]]),
    st.sampled_from([b"", b"{", b"null", b"[]", b"{}\n", b"1" * 5000, b"[" * 100_000, b'{"a":' * 50_000, b"\x00" * 5000]),
)
NAMES = st.one_of(
    st.sampled_from(
        ["n", "s", "n.json", "1", "2", "3", "99", "9" * 15, "9" * 30, "9" * 255, "007", "\u0663", "\u00b2", "-1"]
    ),
    st.sampled_from(
        [".1-x-0", ".protocol.json", "meta.json", "status.json", "a%3Ab", "con", "con.json", ".json", "%~", "x%~1"]
    ),
    st.binary(min_size=1, max_size=20).map(
        lambda raw: raw.replace(b"/", b"x").replace(b"\x00", b"y").decode(errors="surrogateescape")
    ),
).filter(lambda name: name not in (".", ".."))


def ask_everything(data_dir: str) -> list[str]:
    """Each question and each verb once; the errors that were given for an answer."""
    claims = Claims.open(data_dir, NATIVE)
    sessions = claims.sessions
    questions: list[Callable[[], object]] = [
        lambda: claims.show("n"),
        claims.list,
        lambda: claims.check("n", 1),
        lambda: claims.reap(dry_run=True),
        sessions.statuses,
        lambda: sessions.verdict("s", ""),
        lambda: sessions.verdict("s", "i"),
        claims.backend.unavailable,
        lambda: claims.claim("n", "me"),
        lambda: claims.claim("n", "s"),
        lambda: claims.release("n", "me"),
        lambda: claims.break_claim("n", claims.show("n").generation, "test"),
        claims.reap,
        lambda: sessions.register("s"),
        lambda: sessions.stop("s"),
        lambda: sessions.register("s"),
        claims.reap,
        lambda: claims.claim("n", "s"),
        lambda: claims.release("n", "s"),
    ]
    errors = []
    for ask in questions:
        try:
            ask()
        except LooopError as error:  # Everything else is a failure of the test.
            errors.append(str(error))
    assert all(errors), "an error without a message"
    return errors


def put(data_dir: str, place: str, content: bytes) -> None:
    path = Path(data_dir, place)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_dir():
        path.write_bytes(content)


def plant(data_dir: str, place: str, kind: str, outside: str) -> None:
    """Something else where a record, or a directory of records, is expected; nothing, where its name is not possible."""
    try:
        _plant(Path(data_dir, place), kind, outside)
    except (OSError, UnicodeError):
        if NAMES_OF_ANY_CHARACTER:
            raise


def _plant(path: Path, kind: str, outside: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() or path.is_symlink():
        return
    if kind == "file":
        path.write_bytes(b"x")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind.endswith("directory") and not kind.startswith("link"):
        path.mkdir()
        if kind.startswith("full"):
            (path / "1").write_bytes(b"x")
    else:
        target = {"dangling": "nowhere", "loop": path.name, "link to a file": f"{outside}/file"}.get(
            kind, f"{outside}/directory"
        )
        path.symlink_to(target)


@SLOW
@given(st.dictionaries(st.sampled_from(PLACES), CONTENT, min_size=1, max_size=4))
@example({"claims/.ledger/n/1": b"[" * 100_000})
@example({"claims/.ledger/n/1": b'{"session": "s", "generation": ' + b"1" * 5000 + b"}"})
@example({"sessions/s/meta.json": b'{"babysit_pid": ' + b"1" * 4000 + b"}"})
@example({"sessions/.ledger/s/1": b'{"incarnation": "i", "pid": 99999999999999999999}'})
@example({"claims/.ledger/n/1": b'{"session": "\\ud800"}', "claims/n.json": b'{"session": "../.."}'})
def test_any_bytes_in_any_record_give_an_answer_or_our_error(contents: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as data_dir:
        for place, content in contents.items():
            put(data_dir, place, content)
        ask_everything(data_dir)


@SLOW
@given(
    st.lists(st.tuples(st.sampled_from(DIRECTORIES), NAMES, st.sampled_from(KINDS)), min_size=1, max_size=5),
    st.dictionaries(st.sampled_from(PLACES), CONTENT, max_size=2),
)
@example([("claims/.ledger/n", "9" * 30, "file")], {})
@example([("claims/.ledger/n", "\u0663", "file")], {})
@example([("sessions", "s", "file"), ("claims", "n.json", "fifo" if FIFOS else "directory")], {})
@example([("claims/.ledger", "\udcff", "directory"), ("sessions", "\udcff", "full directory")], {})
def test_any_file_of_any_kind_in_any_directory_gives_an_answer_or_our_error(
    planted: list[tuple[str, str, str]], contents: dict[str, bytes]
) -> None:
    with tempfile.TemporaryDirectory() as data_dir, tempfile.TemporaryDirectory() as outside:
        Path(outside, "file").write_bytes(b"precious")
        Path(outside, "directory").mkdir()
        for directory, name, kind in planted:
            above = Path(data_dir, directory, name).parents
            if not any(each.is_symlink() or each.is_file() or each.is_fifo() for each in above):
                plant(data_dir, f"{directory}/{name}", kind, outside)
        for place, content in contents.items():
            path = Path(data_dir, place)
            if not any(each.is_symlink() or each.is_file() or each.is_fifo() for each in (path, *path.parents)):
                put(data_dir, place, content)
        ask_everything(data_dir)
        assert Path(outside, "file").read_bytes() == b"precious"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "file"])
@pytest.mark.parametrize("place", PLACES)
def test_no_kind_of_file_in_a_record_s_place_hangs_or_is_followed(place: str, kind: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "directory").mkdir(parents=True)
    (outside / "file").write_bytes(b"precious")
    plant(str(tmp_path / "data"), place, kind, str(outside))
    ask_everything(str(tmp_path / "data"))
    assert (outside / "file").read_bytes() == b"precious"
    assert list((outside / "directory").iterdir()) == []


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "directory" not in kind])
@pytest.mark.parametrize("place", DIRECTORIES)
def test_no_kind_of_file_in_a_directory_s_place_hangs(place: str, kind: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"precious")
    plant(str(tmp_path / "data"), place, kind, str(outside))
    ask_everything(str(tmp_path / "data"))
    assert (outside / "file").read_bytes() == b"precious"


@needs_symlinks
@pytest.mark.parametrize(
    "place", ["claims/.ledger", "claims/.ledger/n", "sessions/s", "sessions/.ledger", "sessions/.ledger/s"]
)
def test_nothing_is_written_through_a_link_in_a_directory_s_place(place: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "directory").mkdir(parents=True)
    plant(str(tmp_path / "data"), place, "link to a directory", str(outside))
    ask_everything(str(tmp_path / "data"))
    assert list((outside / "directory").iterdir()) == []


@needs_symlinks
def test_a_link_in_the_place_of_a_claim_s_ledger_is_refused_by_name(tmp_path: Path) -> None:
    plant(str(tmp_path), "claims/.ledger/n", "link to a directory", str(tmp_path))
    with pytest.raises(LooopError, match="symbolic link") as refusal:
        Claims.open(str(tmp_path), NATIVE).claim("n", "me")
    assert f"{tmp_path}/claims/.ledger/n" in str(refusal.value)


def no_holder(data: bytes) -> bool:
    """As the format is written down, not as the package reads it: no object, or one that names nobody."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return True
    return not isinstance(found, dict) or not {"session", "released", "generation"} & found.keys()


@settings(SLOW, max_examples=20 * MANY)
@given(CONTENT.filter(no_holder))
@example(b"")
@example(b"\x00" * 4096)
@example(b'{"session"')
def test_a_garbage_generation_is_debris_and_won_by_the_next(garbage: bytes) -> None:
    with tempfile.TemporaryDirectory() as data_dir:
        put(data_dir, "claims/.ledger/n/41", garbage)
        claims = Claims.open(data_dir, NATIVE)
        assert claims.show("n").standing is Standing.DEBRIS
        assert [status.name for status in claims.list()] == ["n"]
        won = claims.claim("n", "me")
        assert isinstance(won, Won)
        assert won.generation == 42
        assert won.previous is not None
        assert won.previous.session == ""


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "file"])
def test_what_is_no_regular_file_is_no_lease_and_won_by_the_next(kind: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "directory").mkdir(parents=True)
    (outside / "file").write_bytes(b'{"session": "s", "name": "n", "generation": 41}\n')
    plant(str(tmp_path), "claims/.ledger/n/41", kind, str(outside))
    claims = Claims.open(str(tmp_path), NATIVE)
    claims.sessions.register("s")
    assert claims.show("n").standing is Standing.DEBRIS
    won = claims.claim("n", "me")
    assert isinstance(won, Won)
    assert won.generation == 42


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "file"])
def test_a_registration_that_is_no_regular_file_is_damaged(kind: str, tmp_path: Path) -> None:
    claims = Claims.open(str(tmp_path), NATIVE)
    claims.sessions.register("s")
    claims.claim("n", "s")
    plant(str(tmp_path), "sessions/.ledger/s/2", kind, str(tmp_path))
    assert claims.sessions.verdict("s", "").liveness is Liveness.UNKNOWN
    assert isinstance(claims.claim("n", "me"), Held)
    assert claims.sessions.stop("s")
    assert isinstance(claims.claim("n", "me"), Won)


def test_the_reaper_releases_a_garbage_generation(tmp_path: Path) -> None:
    put(str(tmp_path), "claims/.ledger/n/41", b"garbage")
    claims = Claims.open(str(tmp_path), NATIVE)
    assert [reaped.generation for reaped in claims.reap().reaped] == [42]
    assert claims.show("n").standing is Standing.VACANT


@settings(SLOW, max_examples=20 * MANY)
@given(CONTENT.filter(lambda data: not text(decode(data), "incarnation")))
@example(b"")
@example(b'{"session": "s", "ended": true}')
def test_a_damaged_registration_holds_until_its_session_is_stopped(damaged: bytes) -> None:
    with tempfile.TemporaryDirectory() as data_dir:
        claims = Claims.open(data_dir, NATIVE)
        claims.sessions.register("s")
        claims.claim("n", "s")
        put(data_dir, "sessions/.ledger/s/2", damaged)
        held = claims.claim("n", "me")
        assert isinstance(held, Held)
        assert held.verdict.liveness is Liveness.UNKNOWN
        assert "looop session stop s" in held.verdict.evidence
        assert claims.reap().reaped == ()
        with pytest.raises(LooopError):
            claims.sessions.register("s")
        assert claims.sessions.stop("s")
        assert isinstance(claims.claim("n", "me"), Won)
        assert claims.sessions.register("s")


@settings(deadline=None)
@given(CONTENT, st.integers(1, 50))
def test_any_bytes_decode_to_a_lease_or_a_release(data: bytes, generation: int) -> None:
    lease = lease_in(data, "n", generation)
    assert lease is None or (lease.generation, lease.settled) == (generation, True)
    assert lease is None or all(field.encode() or not field for field in lease[:3])
    assert number(decode(data), "generation") >= 0


@settings(deadline=None)
@given(st.text(min_size=1).filter(lambda name: name.isprintable()), st.text(max_size=3).filter(str.isprintable))
def test_what_is_encoded_is_one_line_and_decodes_to_the_same_lease(session: str, host: str) -> None:
    from looop_portable import Lease

    lease = Lease("n", session, "i", 3, "2026-01-02T03:04:05Z", host)
    data = encode({**record_of(lease), "generation": 3, "token": "t"})
    assert data.count(b"\n") == 1
    assert data.endswith(b"}\n")
    assert Head(3, lease_in(data, "n", 3)) == Head(3, lease)
    assert lease_in(data, "n", 4) is None
    assert lease_in(encode({**record_of(None), "generation": 3}), "n", 3) is None


def test_only_a_string_that_is_unicode_is_text_and_only_a_positive_integer_is_a_number() -> None:
    record = decode(b'{"a": "\\ud800", "b": 1, "c": true, "d": -1, "e": 7, "f": "\\u00e9", "g": 1.5}')
    assert [text(record, key) for key in "abf?"] == ["", "", "é", ""]
    assert [number(record, key) for key in "acdeg?"] == [0, 0, 0, 7, 0, 0]


@settings(deadline=None)
@given(st.dictionaries(KEYS | st.text(max_size=3), values | st.text() | st.integers(), max_size=8))
@example({"a": 1, "\u00e9\n": '"\\\ud800', "c": -1})
@example({"a": 1, "b": True})
def test_what_is_encoded_is_what_json_makes_of_it(record: dict[str, object]) -> None:
    assert encode(record) == json.dumps(record).encode() + b"\n"


@settings(deadline=None)
@given(
    st.one_of(CONTENT, st.tuples(CONTENT, CONTENT).map(b" ".join)).flatmap(
        lambda data: st.sampled_from([data, data + b"}\n", data + b"\n"])
    )
)
@example(b'{"a": 1}{"b": 2}\n')
@example(b'{"a": 1} }\n')
@example(b'{"a": 1, "a": 2}\n')
@example(b'{"a": 1,}\n')
@example(b'{"}\n')
def test_what_is_decoded_is_what_json_makes_of_it(data: bytes) -> None:
    try:
        expected = json.loads(data)
    except (ValueError, RecursionError):
        expected = {}
    found = decode(data)
    assert repr(found) == repr(expected if isinstance(expected, dict) else {})
