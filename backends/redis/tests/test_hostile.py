"""A server that is hostile, on a socket of this test: whatever it answers, there is an error of ours, within the time."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from looop_portable.backends.on_engine.asking import Store
from looop_portable.errors import Unavailable, UsageError
from looop_portable.system.clock import elapsed
from looop_portable_redis.address import read_url
from looop_portable_redis.engine import RedisEngine
from looop_portable_redis.replies import Lost, Replies
from support.servers.hostile import Answer, answering


def drips(line: socket.socket) -> None:
    """A line without an end, a byte at a time: each in less time than a call may last."""
    line.sendall(b"+")
    for _ in range(10_000):
        line.sendall(b"x")
        time.sleep(0.01)


def never_ends(line: socket.socket) -> None:
    """A reply of which it says that it is large, as fast as it is taken."""
    line.sendall(b"$200000000\r\n")
    while True:
        line.sendall(b"x" * 16)
        time.sleep(0.0005)


ANSWERS: dict[str, Answer] = {
    "what is too large": lambda line: line.sendall(b"$99999999999999\r\nx"),
    "a list that is too long": lambda line: line.sendall(b"*99999999999999\r\n"),
    "lists in lists": lambda line: line.sendall(b"*1\r\n" * 10_000),
    "no number": lambda line: line.sendall(b"$" + b"9" * 5000 + b"\r\n"),
    "other things than were asked for": lambda line: line.sendall(b":1\r\n" * 20),
    "nulls": lambda line: line.sendall(b"$-1\r\n" * 20),
    "empty lists": lambda line: line.sendall(b"*0\r\n" * 20),
    "HTTP": lambda line: line.sendall(b"HTTP/1.1 200 OK\r\n\r\n"),
    "a line that has no end": drips,
    "a reply that has no end": never_ends,
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_what_a_hostile_server_answers_is_an_error_of_ours_within_the_time(answer: str) -> None:
    with answering(ANSWERS[answer]) as port:
        engine = RedisEngine(read_url(f"redis://127.0.0.1:{port}/0?timeout=0.5"))
        began = elapsed()
        with pytest.raises(Unavailable) as told:
            Store(engine, elapsed, lambda: "n").read("claim n", "claim", "n")
        assert "\n" not in str(told.value)
        assert elapsed() - began < 5
        engine.close()


class Endless:
    """A socket from which there is always more to be read."""

    def settimeout(self, seconds: float) -> None:
        assert seconds > 0

    def recv(self, size: int) -> bytes:
        return b"x"


def test_a_reply_that_goes_on_after_the_time_is_given_up() -> None:
    replies = Replies(Endless())  # type: ignore[arg-type]
    with pytest.raises(Lost, match="no end"):
        replies.next(elapsed() - 1)


def test_what_a_server_says_drives_no_terminal(tmp_path: Path) -> None:
    evil = b"-ERR red \x1b[31m\x1b]0;title\x07 \xc2\x9b2J \xe2\x80\xae b\r\n"
    with answering(lambda line: line.sendall(evil * 20)) as port:
        words = ["--backend", f"redis://u:secret-word@127.0.0.1:{port}/0?timeout=0.5", "--data-dir", str(tmp_path)]
        done = subprocess.run(
            [sys.executable, "-P", "-m", "looop_portable", *words, "claim", "n", "--session", "w1"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 3
    assert "red" in done.stderr
    assert all(each.isprintable() for line in (done.stdout + done.stderr).split("\n") for each in line)
    assert "secret-word" not in done.stderr


def test_no_parameter_of_a_url_keeps_a_certificate_from_being_verified() -> None:
    for parameter in ("ssl_cert_reqs=none", "verify=0", "ssl_check_hostname=false"):
        with pytest.raises(UsageError, match="these parameters"):
            read_url(f"rediss://h/0?{parameter}")
