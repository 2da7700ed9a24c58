"""`events`: what is logged, how it is printed, and that following survives rotation and ends when it should."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import pytest
from support.capabilities import needs_fifos

from looop_portable import Claims
from looop_portable.cli.verbs.events import _lines, _whole_lines
from looop_portable.system.files import OS

Run = Callable[..., subprocess.CompletedProcess[str]]
Living = Callable[[str], "subprocess.Popen[bytes]"]
Dying = Callable[..., "subprocess.Popen[bytes]"]

Start = Callable[..., "subprocess.Popen[bytes]"]


def said(done: subprocess.CompletedProcess[str]) -> tuple[int, str, str]:
    return done.returncode, done.stdout, done.stderr


def line(claim: str) -> str:
    return json.dumps({"ts": "2026-01-01T00:00:00Z", "event": "claimed", "claim": claim}) + "\n"


@pytest.fixture
def follower(data_dir: Path, interruptible: Start) -> Iterator[subprocess.Popen[bytes]]:
    """The command, following."""
    with interruptible("--json", "events", "--follow") as process:
        try:
            yield process
        finally:
            process.kill()


def next_claim(stream: IO[bytes] | None) -> str:
    assert stream
    while not (claim := json.loads(stream.readline())["claim"]):
        continue  # It is about a session.
    return str(claim)


def test_no_log_is_no_events(run: Run, data_dir: Path) -> None:
    assert said(run("events")) == (0, "", "")
    assert said(run("--json", "events")) == (0, "", "")
    assert not data_dir.exists()


def test_each_transition_is_an_event_with_what_it_needs(run: Run, alive: Living, dead: Dying) -> None:
    gone = dead("w1", "repo-x")
    alive("w2")
    run("claim", "repo-x", "--session", "w2")
    run("claim", "repo-x", "--session", "w2")
    run("unclaim", "repo-x", "--session", "w2")
    Claims.open().claim("repo-x", "w1")
    run("reap")
    found = [json.loads(each) for each in run("--json", "events", "--claim", "repo-x").stdout.splitlines()]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", each.pop("ts")) for each in found)
    evidence = f"pid {gone.pid} is gone"
    assert found == [
        {"event": "claimed", "claim": "repo-x", "session": "w1", "generation": 1},
        {
            "event": "taken_over",
            "claim": "repo-x",
            "session": "w2",
            "generation": 2,
            "previous": "w1",
            "evidence": evidence,
        },
        {"event": "released", "claim": "repo-x", "session": "w2", "generation": 3},
        {"event": "claimed", "claim": "repo-x", "session": "w1", "generation": 4},
        {"event": "claim_reaped", "claim": "repo-x", "session": "w1", "generation": 5, "evidence": evidence},
    ]


def test_for_people_an_event_is_a_line(run: Run, alive: Living) -> None:
    alive("w1")
    run("claim", "repo-x", "--session", "w1")
    code, out, err = said(run("events", "--claim", "repo-x"))
    assert (code, err) == (0, "")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ  claimed  repo-x  session=w1  generation=1\n", out)


def test_the_rotated_log_comes_first(run: Run, data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / "events.jsonl.1").write_text(line("old"))
    (data_dir / "events.jsonl").write_text(line("new"))
    assert [json.loads(each)["claim"] for each in run("--json", "events").stdout.splitlines()] == ["old", "new"]


def test_a_line_without_its_end_is_still_being_written(run: Run, data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / "events.jsonl").write_text(line("whole") + line("half").rstrip())
    assert [json.loads(each)["claim"] for each in run("--json", "events").stdout.splitlines()] == ["whole"]


def test_an_event_log_that_cannot_be_written_fails_no_verb(run: Run, alive: Living, data_dir: Path) -> None:
    alive("w1")
    (data_dir / "events.jsonl").unlink()
    (data_dir / "events.jsonl").mkdir()
    assert said(run("claim", "repo-x", "--session", "w1")) == (0, "claimed repo-x\n", "")
    done = run("-v", "unclaim", "repo-x", "--session", "w1")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.splitlines()[-1].startswith("the event could not be written to ")


@needs_fifos
def test_a_pipe_in_the_place_of_the_log_stops_no_verb(looop: Run, alive: Living, data_dir: Path) -> None:
    alive("w1")
    (data_dir / "events.jsonl").unlink()
    os.mkfifo(data_dir / "events.jsonl")
    assert said(looop("claim", "repo-x", "--session", "w1", timeout=10)) == (0, "claimed repo-x\n", "")


def test_following_begins_with_what_was_and_goes_on(
    run: Run, alive: Living, data_dir: Path, follower: subprocess.Popen[bytes]
) -> None:
    alive("w1")
    run("claim", "one", "--session", "w1")
    assert next_claim(follower.stdout) == "one"
    run("claim", "two", "--session", "w1")
    assert next_claim(follower.stdout) == "two"
    out, err = follower.communicate(timeout=60)
    assert (follower.returncode, out, err.strip()) == (130, b"", b"")


def test_a_log_that_comes_between_two_looks_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Following ended then, in the moment after a rotation."""
    log, look = tmp_path / "events.jsonl", os.stat

    def comes(path: str, *args: Any, **kwargs: Any) -> os.stat_result:
        try:
            return look(path, *args, **kwargs)
        except FileNotFoundError:
            if path == str(log):
                log.write_text(line("one"))
            raise

    monkeypatch.setattr(os, "stat", comes)
    assert json.loads(next(_lines(str(log), True)))["claim"] == "one"


class Sticky:
    """A file whose C library remembers that the end was met, until it is told to seek: Wine's does."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._is_over = file, False
        self.fileno = file.fileno

    def read(self, most: int) -> bytes:
        found = b"" if self._is_over else self._file.read(most)
        self._is_over = len(found) < most
        return found

    def seek(self, where: int, whence: int = 0) -> None:
        self._file.seek(where, whence)
        self._is_over = False


def test_what_was_written_before_the_log_was_rotated_is_read_to_its_end(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    log.write_text(line("first"))
    with open(log, "rb", opener=lambda name, _: OS.open_to_follow(name)) as file:
        following = _whole_lines(cast("BinaryIO", Sticky(file)), str(log), True, lambda: None)
        assert b"first" in next(following)
        with log.open("a") as writer:
            writer.write(line("last"))
        log.replace(f"{log}.1")
        assert b"last" in next(following)


def test_following_goes_on_in_the_log_that_takes_the_place_of_a_rotated_one(
    data_dir: Path, follower: subprocess.Popen[bytes]
) -> None:
    data_dir.mkdir(exist_ok=True)
    log = data_dir / "events.jsonl"
    log.write_text(line("first"))
    assert next_claim(follower.stdout) == "first"
    for number in range(3):
        with log.open("a") as file:
            file.write(line(f"last of {number}"))
        log.replace(f"{log}.1")
        assert next_claim(follower.stdout) == f"last of {number}"
        log.write_text(line(f"first after {number}"))
        assert next_claim(follower.stdout) == f"first after {number}"


def test_following_waits_for_the_rest_of_a_line(data_dir: Path, follower: subprocess.Popen[bytes]) -> None:
    data_dir.mkdir(exist_ok=True)
    whole = line("two")
    with (data_dir / "events.jsonl").open("a", buffering=1) as file:
        file.write(line("one") + whole[:20])
        file.flush()
        assert next_claim(follower.stdout) == "one"
        file.write(whole[20:])
    assert next_claim(follower.stdout) == "two"


def test_following_ends_when_nobody_reads_any_more(data_dir: Path, follower: subprocess.Popen[bytes]) -> None:
    data_dir.mkdir(exist_ok=True)
    log = data_dir / "events.jsonl"
    log.write_text(line("one"))
    assert next_claim(follower.stdout) == "one"
    assert follower.stdout
    follower.stdout.close()
    with log.open("a") as file:
        file.write(line("two") + line("three"))
    assert follower.wait(timeout=10) == 0


GIB = 1 << 30


def bounded() -> None:
    """No more memory than a run needs that reads little."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (GIB // 2, GIB // 2))


@pytest.fixture
def sparse(data_dir: Path) -> Path:
    """A log of 1 GiB, of which nearly nothing is on the disk; skips where that cannot be made."""
    pytest.importorskip("resource", reason="no limit of memory (needs resource)")
    data_dir.mkdir()
    log = data_dir / "events.jsonl"
    log.touch()
    os.truncate(log, GIB)
    if log.stat().st_blocks > GIB // 1024:
        pytest.skip("no sparse files here")
    return log


@pytest.mark.parametrize("end", ["\n", ""])
def test_a_log_of_a_gibibyte_is_read_from_its_end(looop: Run, sparse: Path, end: str) -> None:
    """Also where all of it is one line."""
    with sparse.open("a") as file:
        file.write(end + line("one") + line("two"))
    done = looop("--json", "events", timeout=60, preexec_fn=bounded)
    assert [json.loads(each)["claim"] for each in done.stdout.splitlines()] == ["one", "two"] if end else ["two"]
    assert (done.returncode, done.stderr) == (0, "")


def test_a_log_of_a_gibibyte_can_be_followed(sparse: Path, follower: subprocess.Popen[bytes]) -> None:
    with sparse.open("a") as file:
        file.write("\n" + line("one"))
    assert next_claim(follower.stdout) == "one"
    with sparse.open("a") as file:
        file.write(line("two"))
    assert next_claim(follower.stdout) == "two"


def test_a_line_that_is_longer_than_any_event_is_left_out(run: Run, data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / "events.jsonl").write_text(line("one") + "x" * (3 << 20) + "\n" + line("two"))
    assert [json.loads(each)["claim"] for each in run("--json", "events").stdout.splitlines()] == ["one", "two"]


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_what_is_no_event_is_left_out(run: Run, data_dir: Path, form: list[str]) -> None:
    data_dir.mkdir()
    (data_dir / "events.jsonl").write_bytes(line("one").encode() + b'{"ts": "20\n\xff\x00\n[]\n\n' + line("two").encode())
    assert len(run(*form, "events").stdout.splitlines()) == 2


def test_of_a_session_by_time_no_process_is_shown(run: Run) -> None:
    assert run("claim", "x", "--session", "agent", "--ttl", "30m").returncode == 0
    begun = run("events").stdout.splitlines()[0].split()
    assert begun[1:4] == ["session_started", "-", "session=agent"]
    assert not any(word.startswith("pid=") for word in begun)
    assert json.loads(run("--json", "events").stdout.splitlines()[0])["pid"] == 0
