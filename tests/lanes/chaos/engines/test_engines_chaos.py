"""Some seconds of chaos on each server that is here: killed once, stopped for longer than the lease. See __main__.py."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lanes.chaos.harness import there

from .scenes import STAGES, Missing
from .witness import LATE, LEASE, LINGERS, SILENT, VIOLATIONS, Witness

TESTS = Path(__file__).parents[3]
MODULES = {"redis": "redis", "valkey": "redis", "postgres": "postgres", "etcd": "etcd", "versitygw": "objects"}

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork is missing")


def chaos(server: str, *options: str) -> subprocess.CompletedProcess[str]:
    module = f"looop_portable_{MODULES[server.partition('-')[0]]}"
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed: tox -e engines")
    try:
        STAGES[server]().close()
    except Missing as why:
        pytest.skip(str(why))
    command = [sys.executable, "-m", "lanes.chaos.engines", "--server", server, "--seconds", "8", *options]
    return subprocess.run(command, cwd=TESTS, env=there(), capture_output=True, text=True, timeout=280, check=False)


def counted(said: str) -> dict[str, str]:
    return {line[:24].strip(): line[24:].strip() for line in said.splitlines()}


@pytest.mark.parametrize(
    "server", ["redis-without-persistence", "valkey", "postgres", "etcd", "versitygw", "redis-failover"]
)
def test_some_seconds_of_chaos_see_no_overlap_and_nobody_stuck(server: str) -> None:
    done = chaos(server)
    assert done.returncode == 0, done.stdout + done.stderr
    found = counted(done.stdout)
    assert {found[f"! {each}"] for each in VIOLATIONS} == {"0"}
    assert [what for what in ("acquired", "kills", "stops") if found[what] == "0"] == []


@pytest.mark.parametrize("fault", ["last-write-wins", "no-nonces"])
def test_an_engine_that_lets_two_win_is_found(fault: str) -> None:
    done = chaos("redis", "--fault", fault)
    assert done.returncode == 1, done.stdout + done.stderr
    assert counted(done.stdout)["! live"] != "0" or counted(done.stdout)["! generation"] != "0", done.stdout


class TestTheWitness:
    """What it is there to see, said by nobody but the test."""

    @pytest.fixture
    def witness(self) -> Iterator[Witness]:
        found = Witness()
        for life in (1, 2):
            found.starts(life, life)
        yield found
        found.close()

    def says(self, witness: Witness, life: int, *words: str) -> None:
        witness.judge(witness.lives[life], words[0], words[1], list(words[2:]))

    def wins(self, witness: Witness, life: int, generation: int) -> None:
        self.says(witness, life, "try", "n")
        self.says(witness, life, "enter", "n", str(generation))

    def seen(self, witness: Witness) -> dict[str, int]:
        return {what: witness.counts[what] for what in (*VIOLATIONS, "stopped") if witness.counts.get(what)}

    def shift(self, witness: Witness, life: int, seconds: float) -> None:
        """The stops of that life, to the past."""
        for each in witness.lives[life].stops:
            each[:] = [moment - seconds for moment in each]

    def test_one_after_the_other_is_well(self, witness: Witness) -> None:
        self.wins(witness, 1, 1)
        self.says(witness, 1, "leave", "n")
        self.wins(witness, 2, 3)
        witness.kills(2)
        self.wins(witness, 1, 5)
        self.says(witness, 1, "lost", "n", "5")
        witness.starts(3, 2)
        self.wins(witness, 3, 7)
        assert self.seen(witness) == {}
        assert witness.counts["takeovers"] == 1

    def test_two_at_once(self, witness: Witness) -> None:
        self.wins(witness, 1, 1)
        self.wins(witness, 2, 2)
        assert self.seen(witness) == {"live": 1}

    @pytest.mark.parametrize("how", ["stopped", "has just gone on", "stopped again at once"])
    def test_two_at_once_of_whom_one_was_stopped(self, witness: Witness, how: str) -> None:
        self.wins(witness, 1, 1)
        witness.stops(1)
        if how != "stopped":
            self.shift(witness, 1, SILENT + 0.1)
            witness.continues(1)
        else:
            self.shift(witness, 1, SILENT + 0.1)
        if how == "stopped again at once":
            self.shift(witness, 1, LATE / 2)
            witness.stops(1)
        self.wins(witness, 2, 2)
        assert self.seen(witness) == {"stopped": 1}

    def test_a_stop_that_is_short_or_long_ago_excuses_nobody(self, witness: Witness) -> None:
        self.wins(witness, 1, 1)
        witness.stops(1)
        self.shift(witness, 1, SILENT + 0.1)
        witness.continues(1)
        self.shift(witness, 1, LATE + 0.1)
        self.wins(witness, 2, 2)
        assert self.seen(witness) == {"live": 1}
        self.says(witness, 2, "leave", "n")
        witness.stops(1)
        self.wins(witness, 2, 3)
        assert self.seen(witness) == {"live": 2}

    def test_one_that_believes_for_long_after_it_has_gone_on(self, witness: Witness) -> None:
        self.wins(witness, 1, 1)
        witness.stops(1)
        self.shift(witness, 1, SILENT + 0.1)
        self.wins(witness, 2, 2)
        witness.continues(1)
        witness.listen(0)
        assert self.seen(witness) == {"stopped": 1}
        self.shift(witness, 1, LINGERS + 0.1)
        witness.listen(0)
        assert self.seen(witness) == {"stopped": 1, "live": 1}

    @pytest.mark.parametrize("number", [1, 2])
    def test_a_number_that_was_used_or_is_not_above_all(self, witness: Witness, number: int) -> None:
        self.wins(witness, 1, 2)
        self.says(witness, 1, "leave", "n")
        self.wins(witness, 2, number)
        assert self.seen(witness) == {"generation": 1}

    def test_one_that_has_it_still_has_the_same_number(self, witness: Witness) -> None:
        self.wins(witness, 1, 2)
        self.says(witness, 1, "leave", "n")
        self.says(witness, 1, "unavailable", "n", "it cannot be released")
        self.wins(witness, 1, 2)
        assert self.seen(witness) == {}

    def test_who_tried_before_may_have_won_before(self, witness: Witness) -> None:
        self.says(witness, 1, "try", "n")
        self.wins(witness, 2, 3)
        self.says(witness, 2, "leave", "n")
        self.says(witness, 1, "enter", "n", "1")
        assert self.seen(witness) == {}

    def test_a_win_while_the_server_is_away(self, witness: Witness) -> None:
        witness.out("frozen", time.monotonic())
        self.wins(witness, 1, 1)
        assert self.seen(witness) == {}
        witness.back(time.monotonic())
        assert self.seen(witness) == {"outage": 1}

    def test_a_win_after_the_server_was_back_which_was_told_late(self, witness: Witness) -> None:
        witness.out("replaced", time.monotonic())
        until = time.monotonic()
        self.wins(witness, 1, 1)
        witness.back(until)
        assert self.seen(witness) == {}

    def test_a_holder_that_is_not_told_of_a_long_outage(self, witness: Witness) -> None:
        self.wins(witness, 1, 1)
        witness.out("frozen", time.monotonic() - 60)
        witness.back(time.monotonic())
        assert self.seen(witness) == {"untold": 1}

    def test_a_holder_that_is_told_of_an_outage_too_late(self, witness: Witness) -> None:
        self.wins(witness, 1, 1)
        witness.out("frozen", time.monotonic() - LEASE - 0.1)
        self.says(witness, 1, "lost", "n", "1")
        witness.back(time.monotonic())
        assert self.seen(witness) == {"untold": 1}

    def test_a_holder_that_leaves_in_an_outage_of_which_it_was_not_told(self, witness: Witness) -> None:
        self.wins(witness, 1, 1)
        witness.out("frozen", time.monotonic() - LEASE + 1)
        self.says(witness, 1, "leave", "n")
        self.wins(witness, 1, 3)
        witness.back(time.monotonic() - 60)
        assert self.seen(witness) == {}
        witness.out("frozen", time.monotonic() - LEASE - 0.1)
        self.says(witness, 1, "leave", "n")
        assert self.seen(witness) == {"untold": 1}

    def test_a_claim_that_is_gone_when_it_is_left(self, witness: Witness) -> None:
        self.wins(witness, 1, 1)
        self.says(witness, 1, "leave", "n")
        self.says(witness, 1, "taken", "n", "untold", "it is another's")
        assert self.seen(witness) == {"taken": 1}

    def test_one_that_refuses_and_does_not_know_it_and_a_dead_one_that_does(self, witness: Witness) -> None:
        self.says(witness, 2, "refused", "n", "1")
        witness.began -= 100
        witness.up_since -= 100
        self.says(witness, 2, "refused", "n", "1")
        assert self.seen(witness) == {"ghost": 1}
        witness.kills(1)
        self.says(witness, 2, "refused", "n", "1")
        witness.lives[1].killed -= 50
        self.says(witness, 2, "refused", "n", "1")
        assert self.seen(witness) == {"ghost": 1, "stuck": 1}

    def test_it_answers_whoever_says_something(self, witness: Witness) -> None:
        with socket.create_connection(("127.0.0.1", witness.port), timeout=10) as line:
            line.sendall(b"hello 1\ntry n\n")
            heard = b""
            while heard.count(b"\n") < 2:
                witness.listen(0.1)
                line.setblocking(False)
                try:
                    heard += line.recv(100)
                except BlockingIOError:
                    continue
        assert witness.lives[1].trying == "n"
