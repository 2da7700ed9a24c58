"""`hold()` among the threads of one process, and across fork: what a child may and may not do to its parent's claim."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.crew import program_says

from looop_portable import ClaimHeld, Claims, Held, hold
from looop_portable.protocol.records import Holder

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork is missing")

THREADS = 8
PATIENCE = 60  # Seconds, after which a thread or a process is taken for hanging.


def in_threads(work: Callable[[int], str]) -> list[str]:
    with ThreadPoolExecutor(THREADS) as pool:
        return [future.result(PATIENCE) for future in [pool.submit(work, number) for number in range(THREADS)]]


def run(script: str, directory: Path) -> str:
    """The output of a program of its own that works in `directory`, and that succeeds."""
    begin = "import os, sys, threading\nfrom looop_portable import ClaimHeld, hold\nstore = sys.argv[1]\n"
    return program_says(begin + textwrap.dedent(script), str(directory))


def test_exactly_one_of_many_threads_that_hold_one_name_enters(tmp_path: Path) -> None:
    start, all_have_tried = threading.Barrier(THREADS), threading.Barrier(THREADS)

    def work(number: int) -> str:
        start.wait(PATIENCE)
        try:
            with hold(name, data_dir=str(tmp_path)):
                all_have_tried.wait(PATIENCE)
                return "in"
        except ClaimHeld:
            all_have_tried.wait(PATIENCE)
            return "refused"

    for round_ in range(30):
        name = f"repo-{round_ % 2}"
        assert sorted(in_threads(work)) == ["in"] + ["refused"] * (THREADS - 1)


def test_threads_hold_different_names_at_once_as_one_session(tmp_path: Path) -> None:
    all_are_in = threading.Barrier(THREADS)

    def work(number: int) -> str:
        with hold(f"repo-{number}", data_dir=str(tmp_path)) as lease:
            all_are_in.wait(PATIENCE)
            lease.check()
            return lease.session

    assert len(set(in_threads(work))) == 1
    assert Claims.open(str(tmp_path)).list() == []


def test_a_name_that_one_thread_has_left_can_be_held_by_the_next_with_a_greater_generation(tmp_path: Path) -> None:
    guard, entered = threading.Lock(), list[int]()

    def work(number: int) -> str:
        for _ in range(25):
            try:
                with hold("repo-x", data_dir=str(tmp_path)) as lease:
                    assert guard.acquire(blocking=False), "two threads are in the block"
                    entered.append(lease.generation)
                    guard.release()
            except ClaimHeld:
                continue
        return "done"

    in_threads(work)
    assert entered
    assert all(before < after for before, after in itertools.pairwise(entered))


@needs_fork
@pytest.mark.parametrize("how", ["os._exit(0)", "sys.exit(0)", "pass"], ids=["_exit", "exit", "leaves-the-block"])
def test_a_forked_child_that_ends_inside_the_block_leaves_the_claim_to_its_parent(tmp_path: Path, how: str) -> None:
    told = run(
        f"""
        with hold("repo-x", data_dir=store) as lease:
            child = os.fork()
            if child == 0:
                {how}
            else:
                assert os.waitpid(child, 0)[1] == 0
                lease.check()
                print("held", lease.generation, flush=True)
                sys.stdin.read()
        """,
        tmp_path,
    )
    assert told == "held 1\n"
    head = Claims.open(str(tmp_path)).backend.read("repo-x")
    assert (head.generation, head.lease) == (2, None)


@needs_fork
def test_others_are_refused_while_the_parent_holds_and_after_its_child_has_exited(tmp_path: Path) -> None:
    script = """
        with hold("repo-x", data_dir=store) as lease:
            child = os.fork()
            if child:
                assert os.waitpid(child, 0)[1] == 0
                print("the child has exited", flush=True)
                sys.stdin.read()
        """
    begin = "import os, sys\nfrom looop_portable import hold\nstore = sys.argv[1]\n"
    command = [sys.executable, "-c", begin + textwrap.dedent(script), str(tmp_path)]
    claims = Claims.open(str(tmp_path))
    found = claims.sessions.register()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdin
        assert parent.stdout
        assert parent.stdout.readline() == "the child has exited\n"
        outcome = claims.claim("repo-x", Holder(found.session, found.incarnation))
        assert isinstance(outcome, Held)
        assert outcome.verdict.evidence == f"pid {parent.pid} runs"
        parent.stdin.close()
        assert parent.wait(PATIENCE) == 0
    assert claims.backend.read("repo-x").generation == 2


@needs_fork
def test_a_forked_child_is_a_session_of_its_own_and_is_refused_its_parents_claim(tmp_path: Path) -> None:
    told = run(
        """
        with hold("repo-x", data_dir=store) as lease:
            child = os.fork()
            if child == 0:
                with hold("repo-y", data_dir=store) as mine:
                    assert mine.session != lease.session
                    try:
                        hold("repo-x", data_dir=store).__enter__()
                    except ClaimHeld as refusal:
                        assert refusal.holder == lease.session, refusal
                        assert refusal.evidence == f"pid {os.getppid()} runs", refusal
                        sys.exit(7)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
            lease.check()
        with hold("repo-y", data_dir=store) as lease:
            print(lease.generation)
        """,
        tmp_path,
    )
    assert told == "3\n"
    assert Claims.open(str(tmp_path)).sessions.ids() == []


@needs_fork
def test_a_forked_child_that_holds_and_exits_ends_its_own_session_and_not_its_parents(tmp_path: Path) -> None:
    told = run(
        """
        from looop_portable import Claims
        with hold("repo-x", data_dir=store) as lease:
            child = os.fork()
            if child == 0:
                hold("repo-y", data_dir=store).__enter__()
                sys.exit(0)
            assert os.waitpid(child, 0)[1] == 0
            claims = Claims.open(store)
            assert [found.lease.name for found in claims.reap().reaped] == ["repo-y"]
            assert claims.sessions.ids() == [lease.session]
            lease.check()
            print("held")
        """,
        tmp_path,
    )
    assert told == "held\n"


@needs_fork
def test_a_child_forked_while_another_thread_registers_can_hold_all_the_same(tmp_path: Path) -> None:
    told = run(
        """
        import signal, warnings
        from looop_portable.sessions.registrar import Sessions
        warnings.simplefilter("ignore", DeprecationWarning)  # To fork with threads is what is tested.
        register, inside, forked = Sessions.register, threading.Event(), threading.Event()

        def slow(self, *args, **kwargs):
            inside.set()
            assert forked.wait(60)
            return register(self, *args, **kwargs)

        def work():
            with hold("repo-x", data_dir=store):
                pass

        Sessions.register = slow
        thread = threading.Thread(target=work)
        thread.start()
        assert inside.wait(60)
        child = os.fork()
        if child == 0:
            signal.alarm(30)
            Sessions.register = register
            with hold("repo-y", data_dir=store):
                os._exit(5)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        forked.set()
        thread.join()
        print(status)
        """,
        tmp_path,
    )
    assert told == "5\n"
