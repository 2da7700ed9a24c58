"""`looop watch` where stdout is no terminal: the table once, then a line, or an object, for each change."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.capabilities import needs_null_signals

from looop_portable import Claims

Run = Callable[..., subprocess.CompletedProcess[str]]
Living = Callable[[str], "subprocess.Popen[bytes]"]

SOON = 60.0
COMMAND = [sys.executable, "-m", "looop_portable", "watch", "--interval", "0.2"]


class Watching:
    """The command, and the lines that it prints."""

    def __init__(self, *args: str) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([*COMMAND, *args], stdin=subprocess.DEVNULL, stdout=pipe, stderr=subprocess.STDOUT)
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.seen: list[str] = []
        self._reads = threading.Thread(target=self._read)
        self._reads.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self._lines.put(line.decode())

    def line(self) -> str:
        self.seen.append(self._lines.get(timeout=SOON).rstrip("\r\n"))
        return self.seen[-1]

    def answer(self, *keys: str) -> tuple[Any, ...]:
        said = json.loads(self.line())
        return tuple(said[key] for key in ("verb", "outcome", *keys))

    def close(self) -> None:
        self.process.kill()
        self._reads.join()
        self.process.communicate()


@pytest.fixture
def watch() -> Iterator[Callable[..., Watching]]:
    made: list[Watching] = []

    def begin(*args: str) -> Watching:
        made.append(Watching(*args))
        return made[-1]

    yield begin
    for each in made:
        each.close()


@pytest.fixture
def claims(alive: Living, data_dir: Path) -> Claims:
    alive("w")
    found = Claims.open(str(data_dir))
    for name in ("ci-1", "ci-2", "other"):
        found.claim(name, "w")
    return found


def test_it_prints_the_table_and_then_a_line_for_each_change(watch: Callable[..., Watching], claims: Claims) -> None:
    watching = watch()
    assert watching.line().split() == ["NAME", "SESSION", "GENERATION", "AGE", "LIVENESS", "EVIDENCE"]
    assert [watching.line().split()[0] for _ in range(3)] == ["ci-1", "ci-2", "other"]
    claims.release("ci-1", "w")
    assert watching.line().split()[1:] == ["released", "ci-1", "session=w", "generation=1"]
    claims.claim("ci-1", "w", note="a note")
    assert watching.line().split("  ")[1:] == ["claimed", "ci-1", "session=w", "generation=3", "note=a note"]
    assert "\x1b" not in "".join(watching.seen)


def test_what_dies_is_told_with_the_evidence(watch: Callable[..., Watching], alive: Living, data_dir: Path) -> None:
    process = alive("w")
    Claims.open(str(data_dir)).claim("a", "w")
    watching = watch()
    watching.line(), watching.line()
    process.kill()
    process.wait()
    _, event, name, *_, evidence = watching.line().split("  ")
    assert (event, name) == ("died", "a")
    assert evidence.startswith(f"evidence=pid {process.pid} is gone")


def test_with_json_everything_is_an_object_a_line(watch: Callable[..., Watching], claims: Claims) -> None:
    watching = watch("--json", "ci-*")
    assert watching.answer("name", "session", "liveness") == ("watch", "held", "ci-1", "w", "alive")
    assert watching.answer("name") == ("watch", "held", "ci-2")
    claims.claim("others", "w")
    claims.release("ci-2", "w")
    assert watching.answer("name", "generation", "previous") == ("watch", "released", "ci-2", 1, None)


@pytest.mark.parametrize(("option", "told"), [("--dead", ["died"]), ("--held", ["claimed", "died"])])
def test_what_is_chosen_before_or_after_a_change_is_told(
    watch: Callable[..., Watching], alive: Living, data_dir: Path, option: str, told: list[str]
) -> None:
    process, claims = alive("w"), Claims.open(str(data_dir))
    claims.claim("dead", "gone")
    claims.claim("a", "w")
    watching = watch("--json", option)
    assert watching.answer("name")[2] == ("dead" if option == "--dead" else "a")
    if option == "--held":
        claims.claim("b", "w")
        assert watching.answer("name") == ("watch", "claimed", "b")
    process.kill()
    process.wait()
    assert watching.answer("name") == ("watch", "died", "a")


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["lines", "json"])
def test_a_store_that_cannot_be_read_is_told_once_and_waited_for(
    watch: Callable[..., Watching], claims: Claims, data_dir: Path, form: tuple[str, ...]
) -> None:
    watching = watch("ci-1", *form)
    assert "ci-1" in (watching.line() if form else watching.line() + watching.line())
    ledger, away = data_dir / "claims" / ".ledger", data_dir / "away"
    ledger.rename(away)
    line = watching.line()
    assert "is not there any more" in line
    assert ("unreachable" if form else "cannot be read") in line
    away.rename(ledger)
    assert ("reachable" if form else "can be read again") in watching.line()
    claims.release("ci-1", "w")
    assert "released" in watching.line()


def test_nothing_is_held_and_then_something(watch: Callable[..., Watching], data_dir: Path) -> None:
    watching = watch()
    assert watching.line() == "no such claims are held"
    Claims.open(str(data_dir)).claim("a", "gone")
    assert watching.line().split()[1:3] == ["claimed", "a"]


def test_an_interval_that_is_none_is_usage(run: Run) -> None:
    for wrong in ("0", "-1", "soon", "nan", "1e300"):
        done = run("watch", "-n", wrong)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


def test_a_store_that_cannot_be_read_at_first_is_no_answer(run: Run, data_dir: Path) -> None:
    (data_dir / "claims").mkdir(parents=True)
    (data_dir / "claims" / ".ledger").write_text("a file")
    done = run("watch")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)


def test_interrupted_it_ends_as_the_other_verbs_do(
    interruptible: Callable[..., subprocess.Popen[bytes]], claims: Claims
) -> None:
    process = interruptible("watch")
    assert process.stdin
    assert process.stdout
    assert process.stdout.readline().startswith(b"NAME")
    process.stdin.close()
    process.stdin = None
    assert process.wait(SOON) == 130
    assert process.communicate()[1].strip() == b""


@needs_null_signals
def test_when_its_reader_has_gone_it_ends_without_a_change(claims: Claims) -> None:
    process = subprocess.Popen(COMMAND, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline().startswith(b"NAME")
    process.stdout.close()
    process.stdout = None
    assert process.wait(SOON) == 0
    assert process.communicate()[1] == b""


def test_rich_is_for_terminals_alone(claims: Claims) -> None:
    code = "import sys; import looop_portable.cli.verbs.show.watching; print('rich' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ))
    assert done.stdout.strip() == "False"
