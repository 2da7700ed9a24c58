"""The connections of an engine: few, used one at a time, and none that a forked child shares with its parent."""

from __future__ import annotations

import itertools
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.capabilities import needs_fork

from looop_portable import Unavailable
from looop_portable.backends.connections import Connections


class Server:
    """What connects, and which connections have been ended."""

    def __init__(self) -> None:
        self.made: list[int] = []
        self.ended: list[int] = []
        self._numbers = itertools.count(1)

    def connect(self) -> int:
        self.made.append(next(self._numbers))
        return self.made[-1]


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def connections(server: Server) -> Connections[int]:
    return Connections("far://away", server.connect, server.ended.append, most=2, seconds=0.05)


def test_one_after_the_other_uses_one(connections: Connections[int], server: Server) -> None:
    for _ in range(3):
        with connections.one() as connection:
            assert connection == 1
    assert (server.made, server.ended) == ([1], [])


def test_whoever_finds_all_in_use_is_told_after_a_while(connections: Connections[int], server: Server) -> None:
    in_use = pytest.raises(Unavailable, match="far://away: its 2 connections are all in use")
    with connections.one(), connections.one(), in_use, connections.one():
        pytest.fail("there is a third")
    with connections.one() as connection:
        assert connection in (1, 2)
    assert server.made == [1, 2]


def test_one_whose_block_fails_is_ended_with_all_that_are_idle(connections: Connections[int], server: Server) -> None:
    with connections.one(), connections.one():
        """Two are idle now."""
    with pytest.raises(KeyError), connections.one():
        raise KeyError
    assert sorted(server.ended) == [1, 2]
    with connections.one() as connection:
        assert connection == 3


def test_one_that_cannot_be_made_leaves_its_place(server: Server) -> None:
    def refuse() -> int:
        raise Unavailable("nobody listens")

    connections = Connections("far://away", refuse, server.ended.append, most=1, seconds=0.05)
    for _ in range(2):
        with pytest.raises(Unavailable, match="nobody listens"), connections.one():
            pytest.fail("there is one")


def test_no_two_threads_have_the_same_at_once(server: Server) -> None:
    connections = Connections("far://away", server.connect, server.ended.append, most=3, seconds=60)
    used: dict[int, threading.Lock] = {number: threading.Lock() for number in (1, 2, 3)}

    def use(_: int) -> None:
        with connections.one() as connection:
            assert used[connection].acquire(blocking=False)
            used[connection].release()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, range(500)))
    assert len(server.made) <= 3
    assert server.ended == []


@needs_fork
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_makes_its_own_and_ends_none_of_its_parents(connections: Connections[int], server: Server) -> None:
    with connections.one():
        """One is idle now."""
    child = os.fork()
    if not child:
        good = False
        try:
            with connections.one() as connection:
                good = connection == 2 and not server.ended
            if grandchild := os.fork():
                good = good and os.waitpid(grandchild, 0)[1] == 0
            else:
                with connections.one() as connection:
                    good = connection == 3 and [list(each) for each in connections._inherited] == [[1], [2]]
                os._exit(0 if good else 1)
            connections.close()
            good = good and server.ended == [2]
        finally:
            os._exit(0 if good else 1)
    assert os.waitpid(child, 0)[1] == 0
    connections.close()
    assert server.ended == [1]
