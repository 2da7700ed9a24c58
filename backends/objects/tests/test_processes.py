"""Processes that advance from what stands, and are killed in the middle of it: no number is won twice, and none is lost."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

from looop_portable.backends.engine import CLAIM
from looop_portable.system.clock import elapsed
from looop_portable_objects.engine import ObjectEngine
from looop_portable_objects.place import place_in
from support.servers.versitygw import VersityGW

WORKER = """
import os, sys
from looop_portable.errors import Unavailable
from looop_portable.system.clock import elapsed
from looop_portable_objects.engine import ObjectEngine
from looop_portable_objects.place import place_in
engine, log, number = ObjectEngine(place_in(sys.argv[1])), open(sys.argv[2], "a", buffering=1), 0
while True:
    data, deadline = b'{"word": "%d/i", "turn": %d}' % (os.getpid(), number), elapsed() + 5
    print("from", number, file=log)
    while elapsed() < deadline:
        try:
            won, now = engine.advance("claim", "x", number, data, not_after=deadline)
        except Unavailable:
            continue
        if won or (now.number == number + 1 and now.data == data):
            print("won", number + 1, file=log)
        number = now.number
        break
    else:
        print("unknown", number + 1, file=log)
        number = engine.read("claim", "x").number
"""
WORKERS = 4
SECONDS = 6.0


def test_no_number_is_won_twice_whoever_is_killed(own: VersityGW, tmp_path: Path) -> None:
    """The server is killed too, and started again."""
    url = f"{own.url('x')}&timeout=1"
    logs: list[Path] = []
    workers: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        logs.append(tmp_path / f"{len(logs)}")
        command = [sys.executable, "-c", WORKER, url, str(logs[-1])]
        workers.append(subprocess.Popen(command))

    try:
        for _ in range(WORKERS):
            start()
        end, was_killed = elapsed() + SECONDS, False
        while elapsed() < end:
            time.sleep(0.3)
            victim = workers.pop(0)
            victim.send_signal(signal.SIGSTOP)
            time.sleep(0.05)
            victim.kill()
            victim.wait()
            start()
            if not was_killed and elapsed() > end - SECONDS / 2:
                was_killed = True
                own.kill()
                own.start()
    finally:
        for each in workers:
            each.kill()
            each.wait()
    text = "".join(log.read_text() for log in logs if log.exists())
    lines = [line.split() for line in text.splitlines() if line.count(" ") == 1]
    won = [int(number) for what, number in lines if what == "won"]
    unknown = {int(number) for what, number in lines if what == "unknown"}
    last = ObjectEngine(place_in(own.url("x"))).read(CLAIM, "x").number
    assert len(won) == len(set(won)), "one number was won twice"
    assert last >= max(won) > 20, "numbers go up, and something was tried"
    missing = set(range(1, last + 1)) - set(won) - unknown
    assert len(missing) <= len(logs), "each process that was killed may have won one, and told nobody"


def test_a_helper_whose_parent_was_killed_in_the_middle_says_nothing() -> None:
    """Of a forked child: it starts slowly, so it may be alone before it has said that it is there."""
    for words in ([], [place_in("s3://claims/ci?endpoint=http://127.0.0.1:1&timeout=1")]):
        ours, its = socket.socketpair()
        with its:
            command = [sys.executable, "-m", "looop_portable_objects.apart", str(its.fileno())]
            helper = subprocess.Popen(command, pass_fds=[its.fileno()], stderr=subprocess.PIPE)
        with Connection(ours.detach()) as line:
            for word in words:
                line.send(word)
        assert helper.communicate(timeout=60)[1] == b""
        assert helper.returncode == 0
