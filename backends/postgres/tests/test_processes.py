"""Processes that share a server, which is killed, frozen and started anew meanwhile: no number is won twice."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from support.servers.postgres import PgBouncer, Postgres

from looop_portable.backends.engine import CLAIM
from looop_portable.system.clock import elapsed
from looop_portable_postgres.engine import PostgresEngine

Opened = Callable[[str], PostgresEngine]

CREW, PATIENCE = 3, 120.0

COUNTER = """
import itertools, os, select, sys
from looop_portable import Unavailable
from looop_portable.backends.engine import Record
from looop_portable.system.clock import elapsed
from looop_portable_postgres.address import target_in
from looop_portable_postgres.engine import PostgresEngine
engine, number = PostgresEngine(target_in(sys.argv[1])), 0
print("ready", flush=True)
os.read(0, 1)
for each in itertools.takewhile(lambda _: not select.select([0], [], [], 0)[0], itertools.count()):
    data = b"%d %d" % (os.getpid(), each)
    while True:
        try:
            won, now = engine.advance("claim", "n", number, data, not_after=elapsed() + 5)
        except Unavailable:
            continue
        if won or now == Record(number + 1, data):
            print(number + 1, flush=True)
        assert now.number >= number, (now, number)
        number = now.number
        break
"""


@pytest.fixture
def own() -> Iterator[Postgres]:
    server = Postgres(synchronous_commit="off")
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.mark.parametrize("is_pooled", [False, True])
def test_no_number_is_won_twice_whatever_becomes_of_the_server(own: Postgres, opened: Opened, is_pooled: bool) -> None:
    with contextlib.ExitStack() as stack:
        url = own.url(timeout="1")
        if is_pooled:
            pooler = PgBouncer(own, server_login_retry="0.1")
            stack.callback(pooler.close)
            pooler.start()
            url = pooler.url(timeout="1")
        command = [sys.executable, "-c", COUNTER, url]
        opened(url).read(CLAIM, "n")
        crew = [
            stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            for _ in range(CREW)
        ]
        for process in crew:
            stack.callback(process.kill)
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
        for process in crew:
            assert process.stdin
            process.stdin.write("g")
            process.stdin.flush()
        last = 0
        for step in (own.kill, own.freeze, own.kill):
            last = wait_beyond(own, last)
            step()
            if step == own.freeze:
                time.sleep(1.5)
                own.thaw()
            else:
                own.start()
        wait_beyond(own, last)
        won = [int(number) for process in crew for number in process.communicate(timeout=PATIENCE)[0].split()]
        assert [process.returncode for process in crew] == [0] * CREW
    stands = opened(own.url()).read(CLAIM, "n").number
    assert len(set(won)) == len(won)
    assert max(won) <= stands
    assert len(won) > 15
    assert stands > last


def wait_beyond(server: Postgres, number: int) -> int:
    """The number that stands, when some have been won since."""
    end = elapsed() + PATIENCE
    while (found := int(server.sql("select coalesce(max(number), 0) from looop.records"))) < number + 5:
        assert elapsed() < end
    return found
