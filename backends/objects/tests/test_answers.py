"""What stores answer, and what becomes of it: each refusal is looked at, and each failure is one line, soon."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from looop_portable.backends.engine import BEAT, CLAIM, NOTHING, SESSION, Record, Step
from looop_portable.errors import CannotExclude, Unavailable, UsageError
from looop_portable.system.clock import elapsed
from looop_portable_objects import open_objects
from looop_portable_objects.engine import ObjectEngine
from looop_portable_objects.place import place_in
from support.servers import free_port
from support.servers.between import Between, Do
from support.servers.shops import Shop, fresh
from support.servers.versitygw import PASSWORD, VersityGW

Open = Callable[[], ObjectEngine]
HELD = b'{"word": "a/i"}\n'
FREE = b'{"released": true}\n'


def later() -> float:
    return elapsed() + 30


@pytest.fixture
def between(server: Shop) -> Iterator[Between]:
    between = Between(server.port)
    yield between
    between.close()


@pytest.fixture
def connect(server: Shop, between: Between) -> Open:
    url = server.url(fresh()).replace(f":{server.port}", f":{between.endpoint.rpartition(':')[2]}")
    return lambda: ObjectEngine(place_in(url))


def test_a_look_asks_for_a_beat_once_somebody_wants_to_know_it(connect: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, asked = connect(), list[str]()
    engine.advance(CLAIM, "x", 0, HELD, not_after=later())
    engine.advance(SESSION, "a", 0, b"registered", not_after=later())
    engine.beat("a/i", 30)
    get = engine.bucket.get

    def see(name: str) -> object:
        asked.append(name.split("/")[-2])
        return get(name)

    monkeypatch.setattr(engine.bucket, "get", see)
    seen = engine.look("x")
    assert seen[:2] == (Record(1, HELD), Record(1, b"registered"))
    assert asked == ["claim", "session"]
    assert seen.heard
    assert asked == ["claim", "session", "beat"]


@pytest.mark.parametrize("what", [Do.LOSE, Do.HIDE])
def test_a_step_whose_answer_was_lost_finds_itself_standing(connect: Open, between: Between, what: Do) -> None:
    """A 412 then comes of one's own success."""
    engine, deadline = connect(), later()
    between.next_put(what)
    steps = []
    for _ in range(2):
        try:
            steps.append(engine.advance(CLAIM, "x", 0, HELD, not_after=deadline))
        except Unavailable:
            assert what is Do.LOSE
    assert steps[-1].now == Record(1, HELD)
    assert connect().read(CLAIM, "x") == Record(1, HELD)


def test_a_409_that_means_try_again_is_tried_again(connect: Open, between: Between) -> None:
    for number, data in enumerate((HELD, FREE)):
        engine = connect()
        between.next_put(Do.CONFLICT, Do.CONFLICT)
        assert engine.advance(CLAIM, "x", number, data, not_after=later()) == Step(True, Record(number + 1, data))
        assert between.counted().count("PUT") == 3


def test_a_409_that_means_lost_is_lost(connect: Open, between: Between) -> None:
    engine = connect()
    assert engine.read(CLAIM, "x") == NOTHING
    assert connect().advance(CLAIM, "x", 0, b"theirs", not_after=later()).won
    between.next_put(Do.CONFLICT)
    assert engine.advance(CLAIM, "x", 0, HELD, not_after=later()) == Step(False, Record(1, b"theirs"))


def test_a_store_that_asks_for_less_haste_has_it(connect: Open, between: Between) -> None:
    between.next_put(Do.BUSY, Do.BUSY)
    assert connect().advance(CLAIM, "x", 0, HELD, not_after=later()).won


def test_a_store_that_asks_for_less_haste_until_the_deadline_is_told_of(connect: Open, between: Between) -> None:
    engine, began = connect(), elapsed()
    between.does = lambda method, _: Do.BUSY if method == "PUT" else Do.PASS
    with pytest.raises(Unavailable, match="asks for fewer requests"):
        engine.advance(CLAIM, "x", 0, HELD, not_after=began + 1)
    assert elapsed() - began < 2
    assert between.counted().count("PUT") > 2
    assert connect().read(CLAIM, "x") == NOTHING


def test_a_store_without_conditional_writes_is_refused(connect: Open, between: Between) -> None:
    between.next_put(Do.LACK)
    with pytest.raises(CannotExclude, match="no conditional writes"):
        connect().advance(CLAIM, "x", 0, HELD, not_after=later())


def test_the_requests_are_counted(connect: Open, between: Between) -> None:
    engine = connect()
    other = connect()

    def counted(call: Callable[[], object]) -> list[str]:
        between.counted()
        call()
        return between.counted()

    assert counted(lambda: engine.read(CLAIM, "x")) == ["GET"]
    assert counted(lambda: engine.advance(CLAIM, "x", 0, HELD, not_after=later())) == ["PUT", "HEAD"]
    assert counted(lambda: engine.advance(CLAIM, "x", 1, FREE, not_after=later())) == ["PUT"]
    assert counted(lambda: engine.advance(CLAIM, "x", 2, HELD, not_after=later())) == ["PUT", "HEAD"]
    assert counted(lambda: other.advance(CLAIM, "x", 0, HELD, not_after=later())) == ["GET"]
    assert counted(lambda: engine.advance(CLAIM, "x", 3, FREE, not_after=later())) == ["PUT"]
    assert counted(lambda: other.advance(CLAIM, "x", 3, HELD, not_after=later())) == ["PUT", "GET"]
    assert counted(lambda: engine.beat("a/i", 30)) == ["PUT"]
    assert counted(lambda: engine.heard("a/i")) == ["GET"]
    assert len(counted(lambda: engine.forget(BEAT, "a/i"))) == 1
    assert counted(lambda: engine.heard("a/i")) == ["GET"]
    for number in range(10):
        assert engine.advance(SESSION, f"s{number}", 0, b"x", not_after=later()).won
    assert counted(lambda: engine.scan(SESSION)) == ["GET"], "what this process knows it does not read again"
    assert engine.advance(CLAIM, "y", 0, b'{"word": "s1/i"}', not_after=later()).won
    assert counted(lambda: engine.survey(CLAIM)) == ["GET"] * 3, "what is known of a holder is asked for anew"
    assert counted(lambda: engine.survey(SESSION)) == ["GET"]
    assert counted(lambda: engine.report("s1", "s1/i", 30)) == ["PUT", "GET"]
    assert len(counted(lambda: other.scan(SESSION))) == 11


def test_a_scan_whose_objects_are_not_answered_ends_as_soon_as_one_request(connect: Open, between: Between) -> None:
    engine, judge = connect(), ObjectEngine(connect().bucket.place._replace(seconds=1.0))
    for number in range(20):
        assert engine.advance(SESSION, f"s{number}", 0, b"x", not_after=later()).won
    between.does = lambda method, path: Do.HOLD if method == "GET" and "=" not in path.partition("?")[2] else Do.PASS
    told(lambda: judge.scan(SESSION), 1)


def told(call: Callable[[], object], seconds: float) -> str:
    """The one line that says why `call` has no answer, within `seconds` and one more."""
    began = elapsed()
    with pytest.raises(Unavailable) as caught:
        call()
    assert elapsed() - began < seconds + 1
    said = str(caught.value)
    assert said.isprintable()
    assert len(said) < 300
    assert PASSWORD not in said
    assert PASSWORD not in repr(caught.value.__cause__)
    return said


CALLS: dict[str, Callable[[ObjectEngine], object]] = {
    "read": lambda engine: engine.read(CLAIM, "x"),
    "advance": lambda engine: engine.advance(CLAIM, "x", 0, HELD, not_after=elapsed() + 1),
    "scan": lambda engine: engine.scan(CLAIM),
    "forget": lambda engine: engine.forget(SESSION, "x"),
    "beat": lambda engine: engine.beat("a/i", 30),
    "heard": lambda engine: engine.heard("a/i"),
    "verify": lambda engine: engine.verify(),
}


REFUSED = [("password", "refuses these credentials"), ("bucket", "there is no such bucket")]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("wrong", "says"), REFUSED)
def test_what_the_store_refuses_is_one_line(
    server: Shop, monkeypatch: pytest.MonkeyPatch, call: str, wrong: str, says: str
) -> None:
    url = server.url("x", "elsewhere") if wrong == "bucket" else server.url("x")
    if wrong == "password":
        secret = next(name for name in server.credentials() if name.endswith(("SECRET_ACCESS_KEY", "ACCOUNT_KEY")))
        monkeypatch.setenv(secret, "d3JvbmctczNjcmV0")
    engine = ObjectEngine(place_in(url))
    if (call, wrong, server.name) == ("forget", "bucket", "azurite"):
        engine.forget(SESSION, "x")  # It is not there, and it is not told why.
        return
    said = told(lambda: CALLS[call](engine), 4)
    assert says in said
    assert "d3JvbmctczNjcmV0" not in said


@pytest.mark.parametrize("call", CALLS)
def test_a_server_that_is_not_there_is_one_line(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "looop")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", PASSWORD)
    engine = ObjectEngine(place_in(f"s3://claims/x?endpoint=http://127.0.0.1:{free_port()}"))
    assert "nobody listens there" in told(lambda: CALLS[call](engine), 0.5)


def test_a_server_that_speaks_no_tls_is_one_line(own: VersityGW) -> None:
    engine = ObjectEngine(place_in(own.url("x").replace("http://", "https://")))
    assert "TLS" in told(lambda: engine.read(CLAIM, "x"), 4)


NONE: dict[str, dict[str, str]] = {
    "gs://claims/x?endpoint=http://127.0.0.1:1": {"GOOGLE_APPLICATION_CREDENTIALS": "/nowhere"},
    "gs://claims/y?endpoint=http://127.0.0.1:1": {"GOOGLE_SERVICE_ACCOUNT_KEY": "{s3cret"},
    "az://claims/x": {},
    "az://claims/y?endpoint=http://127.0.0.1:1": {
        "AZURE_STORAGE_ACCOUNT_NAME": "me",
        "AZURE_STORAGE_ACCOUNT_KEY": "!s3cret",
    },
    "s3://claims/x?endpoint=http://127.0.0.1:1": {"AWS_METADATA_ENDPOINT": "http://127.0.0.1:1"},
}


@pytest.mark.parametrize("url", NONE)
def test_no_credentials_are_one_line(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has none in the environment is asked about by the machine's own service."""
    for name in os.environ:
        if name.startswith(("AWS_", "AZURE_", "GOOGLE_")):
            monkeypatch.delenv(name)
    for name, value in NONE[url].items():
        monkeypatch.setenv(name, value)
    engine = ObjectEngine(place_in(url))
    said = told(lambda: engine.read(CLAIM, "x"), 1)
    assert "no credentials" in said
    assert "s3cret" not in said


def test_a_machine_whose_own_service_does_not_answer_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        engine = ObjectEngine(place_in("s3://claims/x?endpoint=http://127.0.0.1:1&timeout=1"))
        told(lambda: engine.read(CLAIM, "x"), 1)


@pytest.mark.parametrize("call", CALLS)
def test_a_frozen_server_is_one_line_and_has_no_ghost_when_it_goes_on(own: VersityGW, call: str) -> None:
    url = own.url("x")
    others = ObjectEngine(place_in(url))
    engine = ObjectEngine(place_in(f"{url}&timeout=1"))
    assert engine.read(CLAIM, "x") == NOTHING
    own.freeze()
    deadline = elapsed() + 1
    try:
        told(lambda: CALLS[call](engine), 1)
        while elapsed() < deadline + 2:
            time.sleep(0.1)
    finally:
        own.thaw()
    assert others.read(CLAIM, "x") == NOTHING
    assert others.advance(CLAIM, "x", 0, HELD, not_after=later()).won
    assert engine.read(CLAIM, "x") == Record(1, HELD)


def test_a_request_has_the_time_that_the_url_says(own: VersityGW) -> None:
    engine = ObjectEngine(place_in(f"{own.url('x')}&timeout=2.5"))
    own.freeze()
    try:
        for call in ("read", "beat", "scan"):
            began = elapsed()
            assert "within 2.5 s" in told(lambda call=call: CALLS[call](engine), 2.5)  # type: ignore[misc]
            assert elapsed() - began >= 2.5
    finally:
        own.thaw()


def test_what_was_won_stays_when_the_server_is_killed(own: VersityGW) -> None:
    engine = ObjectEngine(place_in(own.url("x")))
    for number in range(5):
        assert engine.advance(CLAIM, "x", number, HELD, not_after=later()).won
        own.kill()
        own.start()
        assert engine.read(CLAIM, "x") == Record(number + 1, HELD)


FORKS = """
import os, sys, time
from looop_portable_objects.engine import ObjectEngine
from looop_portable_objects.place import place_in
engine = ObjectEngine(place_in(sys.argv[1]))
engine.read("claim", "x")
parent = os.getpid()
child = os.fork()
if not child:
    engine.read("claim", "x")
    helper = engine.bucket._client._helpers._idle[0][0].pid
    print(open(f"/proc/{helper}/cmdline").read().split(chr(0))[1:4], helper, flush=True)
    os._exit(0)
os.waitpid(child, 0)
engine.read("claim", "x")
"""


def test_what_speaks_for_a_forked_child_ends_with_it(server: Shop) -> None:
    """And no credential is on its command line."""
    program = [sys.executable, "-c", FORKS, server.url("x")]
    done = subprocess.run(program, capture_output=True, text=True, check=True, timeout=60)
    command, _, helper = done.stdout.rpartition(" ")
    assert "looop_portable_objects.apart" in command
    end = elapsed() + 20
    while os.path.exists(f"/proc/{int(helper)}") and "Z" not in state_of(int(helper)):
        assert elapsed() < end


def state_of(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"


ENDS = """
import atexit, sys, time
from looop_portable_objects.engine import ObjectEngine
from looop_portable_objects.place import place_in
engine = ObjectEngine(place_in(sys.argv[1]))
atexit.register(lambda: print(len(engine.scan("session"))))
"""


def test_a_process_that_ends_scans_as_others_do(connect: Open) -> None:
    """Python starts no threads any more then."""
    engine = connect()
    for number in range(3):
        assert engine.advance(SESSION, f"s{number}", 0, b"x", not_after=later()).won
    place = engine.bucket.place
    url = f"{place.scheme}://{place.bucket}/{place.prefix}?endpoint={place.endpoint}"
    program = [sys.executable, "-c", ENDS, url]
    done = subprocess.run(program, capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == ("3\n", "")


def test_an_object_of_somebody_else_s_is_told_of(connect: Open) -> None:
    engine = connect()
    for data in (b"", b"[]", b"{}", b"\xff", json.dumps({"looop": 1}).encode()):
        engine.bucket.put(engine._name(CLAIM, "x"), data)
        assert "is no record" in told(lambda: engine.read(CLAIM, "x"), 4)


WRONG = [
    "s3:claims/x",
    "s3://",
    "s3:///x",
    "s3://looop:s3cret@claims/x",
    "s3://claims:70/x",
    "s3://claims:port/x",
    "s3://cl aims/x",
    "s3://claims/x?endpoint=",
    "s3://claims/x?endpoint=ftp://h",
    "s3://claims/x?endpoint=http://h:99999",
    "s3://claims/x?endpoint=http://u:s3cret@h",
    "s3://claims/x?endpoint=http://h/%3Fq",
    "s3://claims/x?endpoint=http://[",
    "s3://claims/x?region=a b",
    "s3://claims/x?account=a",
    "s3://claims/x?timeout=0",
    "s3://claims/x?timeout=soon",
    "s3://claims/x?timeout=nan",
    "s3://claims/x?timeout=1&timeout=2",
    "s3://claims/x?password=s3cret",
    "s3://claims/x?s3cret",
    "s3://claims/x#s3cret",
    "s3://claims/a//b",
    "s3://claims/a/../b",
    "s3://claims/a./b",
    "s3://claims/%00",
    f"s3://claims/{200 * 'x'}",
    "gs://claims/x?region=a",
    "az://claims/x?region=a",
    "",
]


@pytest.mark.parametrize("url", WRONG)
def test_a_wrong_url_is_refused_before_anything_is_asked(url: str, tmp_path: object) -> None:
    with pytest.raises(UsageError) as caught:
        open_objects(str(tmp_path), url)
    assert str(caught.value).isprintable()
    assert "s3cret" not in str(caught.value)


def test_where_it_is_has_no_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", PASSWORD)
    backend = open_objects("", "s3://claims/ci/one/?endpoint=http://127.0.0.1:70&region=eu-central-1")
    assert backend.name == "s3"
    assert backend._store.engine.where == "s3://claims/ci/one at 127.0.0.1:70"
    assert place_in("gs://claims").where == "gs://claims/"
    assert place_in("az://claims/x?account=me").account == "me"
