"""events.jsonl: one whole line an event, one rotated file, and never any trouble for a verb."""

import json
import os
import re
import threading
from pathlib import Path

import pytest
from support.capabilities import NATIVE, needs_fifos, needs_links, needs_modes, needs_symlinks

from looop_portable import Claims
from looop_portable.claims.events import CAP, Events


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_an_event_is_one_line_with_its_time(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    events = Events(str(log))
    events.emit("claimed", "a\nb", session="s", generation=7)
    events.emit("released", "é\ud800", session="s")
    one, two = lines(log)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", str(one.pop("ts")))
    assert one == {"event": "claimed", "claim": "a\nb", "session": "s", "generation": 7}
    assert two["claim"] == "é\ud800"
    assert events.trouble == ""


def test_events_are_appended_to_what_looop_wrote(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    log.write_text('{"event": "theirs"}\n')
    Events(str(log)).emit("claimed", "n")
    assert [line["event"] for line in lines(log)] == ["theirs", "claimed"]


def test_an_event_is_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[bytes] = []
    real = os.write

    def write(fd: int, data: bytes) -> int:
        writes.append(data)
        return real(fd, data)

    monkeypatch.setattr(os, "write", write)
    Events(str(tmp_path / "events.jsonl")).emit("claimed", "n" * 5000)
    assert len(writes) == 1
    assert writes[0].endswith(b"}\n")


def test_at_the_cap_the_log_is_rotated_once(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    events = Events(str(log), cap=300)
    for number in range(40):
        events.emit("claimed", "n", generation=number)
    rotated = tmp_path / "events.jsonl.1"
    assert sorted(path.name for path in tmp_path.iterdir()) in (["events.jsonl", "events.jsonl.1"], ["events.jsonl.1"])
    kept = [*lines(rotated), *(lines(log) if log.exists() else [])]
    numbers = [line["generation"] for line in kept]
    assert numbers == list(range(40 - len(kept), 40))
    assert 300 < rotated.stat().st_size < 500
    assert not log.exists() or log.stat().st_size <= 300
    assert CAP == 8 * 1024 * 1024


def test_a_log_below_the_cap_is_not_rotated(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    events = Events(str(log), cap=10**6)
    for _ in range(20):
        events.emit("claimed", "n")
    assert len(lines(log)) == 20
    assert [path.name for path in tmp_path.iterdir()] == ["events.jsonl"]


def test_trouble_is_remembered_and_not_raised(tmp_path: Path) -> None:
    log = tmp_path / "missing" / "events.jsonl"
    events = Events(str(log))
    events.emit("claimed", "n")
    assert re.fullmatch(rf"the event could not be written to {re.escape(str(log))}: \w.+", events.trouble)
    log.parent.mkdir()
    events.emit("claimed", "n")
    assert events.trouble == ""
    assert len(lines(log)) == 1


def test_a_directory_in_the_log_s_place_is_trouble_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").mkdir()
    events = Events(str(tmp_path / "events.jsonl"))
    events.emit("claimed", "n")
    assert "directory" in events.trouble


def test_a_rotation_that_fails_is_trouble_and_the_event_is_kept(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl.1").mkdir()
    events = Events(str(tmp_path / "events.jsonl"), cap=10)
    events.emit("claimed", "n")
    assert events.trouble
    assert len(lines(tmp_path / "events.jsonl")) == 1


@needs_symlinks
def test_a_link_in_the_log_s_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    for name, target in (("a", "precious"), ("b", "nowhere")):
        (tmp_path / name).symlink_to(target)
        events = Events(str(tmp_path / name))
        events.emit("claimed", "n")
        assert events.trouble
    assert (tmp_path / "precious").read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()


@needs_fifos
def test_a_pipe_in_the_log_s_place_does_not_stop_a_verb(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "events.jsonl")
    events = Events(str(tmp_path / "events.jsonl"))
    verb = threading.Thread(target=events.emit, args=("claimed", "n"))
    verb.start()
    verb.join(10)
    stopped = verb.is_alive()
    reader = os.open(tmp_path / "events.jsonl", os.O_RDONLY | os.O_NONBLOCK)  # It goes on once somebody reads.
    verb.join()
    os.close(reader)
    assert not stopped
    assert events.trouble


def test_a_verb_succeeds_though_its_event_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").mkdir()
    claims = Claims.open(str(tmp_path), NATIVE)
    assert claims.claim("n", "s").lease.session == "s"
    assert claims.events is not None
    assert claims.events.trouble


@needs_modes
def test_in_a_shared_directory_the_log_is_the_group_s_too(tmp_path: Path) -> None:
    tmp_path.chmod(0o2775)
    previous = os.umask(0o077)
    try:
        Events(str(tmp_path / "events.jsonl")).emit("claimed", "n")
    finally:
        os.umask(previous)
    assert (tmp_path / "events.jsonl").stat().st_mode & 0o777 == 0o660


def test_each_transition_has_its_event_and_its_fields(tmp_path: Path) -> None:
    """`gone` is registered by nobody, so its claim is taken over, and reaped."""
    claims = Claims.open(str(tmp_path), NATIVE)
    claims.sessions.register("s")
    claims.claim("n", "gone")
    claims.claim("n", "s")
    claims.claim("n", "s")
    claims.release("n", "s")
    claims.release("n", "s")
    claims.claim("m", "s")
    claims.break_claim("m", 1, "a test")
    claims.claim("m", "gone")
    claims.reap(dry_run=True)
    claims.reap()
    found = [line for line in lines(tmp_path / "events.jsonl") if line["claim"] is not None]
    assert all(line.pop("ts") for line in found)
    assert found[4].pop("by_user")
    assert found[4].pop("by_host")
    no_session = "no such session"
    assert found == [
        {"event": "claimed", "claim": "n", "session": "gone", "generation": 1},
        {"event": "taken_over", "claim": "n", "session": "s", "generation": 2, "previous": "gone", "evidence": no_session},
        {"event": "released", "claim": "n", "session": "s", "generation": 3},
        {"event": "claimed", "claim": "m", "session": "s", "generation": 1},
        {"event": "broken", "claim": "m", "session": "s", "generation": 2, "reason": "a test"},
        {"event": "claimed", "claim": "m", "session": "gone", "generation": 3},
        {"event": "claim_reaped", "claim": "m", "session": "gone", "generation": 4, "evidence": no_session},
    ]


@pytest.mark.parametrize("half", ['{"ts": "2026-01-01T00:00:00Z", "eve', "{", "x" * 10_000])
def test_half_a_line_does_not_swallow_the_next_event(tmp_path: Path, half: str) -> None:
    """Left by who crashed before we came, and while we are here."""
    log = tmp_path / "events.jsonl"
    log.write_text(half)
    events = Events(str(log))
    events.emit("claimed", "one")
    with log.open("a") as file:
        file.write(half)
    events.emit("claimed", "two")
    events.emit("claimed", "three")
    written = log.read_text().splitlines()
    assert [json.loads(line)["claim"] for line in written if line != half] == ["one", "two", "three"]
    assert written.count(half) == 2


def test_after_an_append_that_was_cut_short_the_next_event_is_a_line_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "events.jsonl"
    events = Events(str(log))
    events.emit("claimed", "one")
    write = os.write
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda fd, data: write(fd, data[:9]))
        events.emit("claimed", "two")
        assert events.trouble
    events.emit("claimed", "three")
    assert [json.loads(line)["claim"] for line in log.read_text().splitlines() if line.endswith("}")] == ["one", "three"]


@needs_links
def test_a_second_name_of_somebodys_file_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    os.link(tmp_path / "precious", tmp_path / "events.jsonl")
    events = Events(str(tmp_path / "events.jsonl"))
    events.emit("claimed", "n")
    assert "another name" in events.trouble
    assert (tmp_path / "precious").read_text() == "precious"
