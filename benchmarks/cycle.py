"""An uncontended claim and release, `with hold(...)`, and a refusal, beside their peers and beside their floor, in one run.

    python benchmarks/cycle.py [DIRECTORY]      (default: /dev/shm, else the temporary directory)

The contenders take turns, 100 cycles each and in an order that rotates, so that a noisy machine disturbs all alike; printed
are each one's median in microseconds, and what ours takes of it: the median of the ratios, round by round.

The *floor* is what nothing written in Python can be faster than: the same system calls, in the same order and with the same
arguments, in a bare function of `os.*` calls. It is written anew in each run, from what one cycle of ours was seen to call.
"""

from __future__ import annotations

import contextlib
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import filelock

from looop_portable import Claims, Held, Won, hold

ROUNDS, CYCLES = 60, 100
CALLS = (
    "open",
    "read",
    "write",
    "close",
    "lseek",
    "fstat",
    "stat",
    "lstat",
    "listdir",
    "link",
    "replace",
    "unlink",
    "urandom",
)
"""What ours calls of `os`: nothing else of it is a system call, as strace(1) has it."""

Run = Callable[[], object]


class Call(NamedTuple):
    """One call that was seen, `result` being a descriptor or nothing of interest; `failed`: it raised FileNotFoundError."""

    name: str
    args: tuple[object, ...]
    options: dict[str, object]
    result: object
    failed: bool


@contextlib.contextmanager
def watched() -> Iterator[list[Call]]:
    """The calls of `os` that this thread and all others make meanwhile."""
    seen: list[Call] = []

    def watch(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **options: object) -> object:
            try:
                result = real(*args, **options)
            except FileNotFoundError:
                seen.append(Call(name, args, options, None, failed=True))
                raise
            seen.append(Call(name, args, options, result, failed=False))
            return result

        return call

    real = {name: getattr(os, name) for name in CALLS}
    for name, function in real.items():
        setattr(os, name, watch(name, function))
    try:
        yield seen
    finally:
        for name, function in real.items():
            setattr(os, name, function)


def floor_of(run: Run, claim: str, generation: Callable[[], int]) -> Run:
    """A function that makes the calls of one cycle, which begins when the head of `claim` is `generation()`.

    It goes on in the same directory, where `run` leaves off, so that numbers are what they would be.
    """
    run()
    first = generation()
    with watched() as seen:
        run()
    per_cycle = generation() - first
    lines, nonce = [], ""
    for at, call in enumerate(seen):
        if call.name == "urandom":
            lines.append("token = urandom(8).hex()")
            nonce = bytes(call.result).hex() if isinstance(call.result, bytes) else ""
            continue
        opened = {seen[earlier].result: f"fd{earlier}" for earlier in range(at) if seen[earlier].name == "open"}
        words = [_word(arg, call, number, opened, claim, first, nonce) for number, arg in enumerate(call.args)]
        words += [f"{name}={value!r}" for name, value in call.options.items()]
        line = f"{f'fd{at} = ' if call.name == 'open' else ''}{call.name}({', '.join(words)})"
        lines += ["try:", f"    {line}", "except FileNotFoundError:", "    pass"] if call.failed else [line]
    body = "\n        ".join(lines)
    source = (
        f"def bare(g):\n    def cycle():\n        nonlocal g\n        {body}\n        g += {per_cycle}\n    return cycle\n"
    )
    scope: dict[str, Callable[[int], Run]] = {}
    exec(source, {name: getattr(os, name) for name in CALLS}, scope)
    return scope["bare"](generation())


def _word(arg: object, call: Call, at: int, opened: dict[object, str], claim: str, first: int, nonce: str) -> str:
    """`arg` as source: a descriptor, a path in which the generation and the token are those of the cycle, or a constant."""
    if at == 0 and call.name in ("read", "write", "close", "lseek", "fstat"):
        return opened[arg]
    if not isinstance(arg, str):
        return repr(arg)
    found = re.fullmatch(rf"(.*/claims/\.ledger/{claim}/\.?)(\d+)(.*)", arg)
    if not found:
        return repr(arg)
    rest = found[3].replace(nonce, "{token}") if nonce else found[3]
    return f"f'{found[1]}{{g + {int(found[2]) - first}}}{rest}'"


@contextlib.contextmanager
def held_by_another(directory: str, lock: str) -> Iterator[None]:
    """While another process holds the claim `held`, and the SoftFileLock `lock`."""
    code = """
import sys, filelock
from looop_portable import Claims
claims = Claims.open(sys.argv[1], "posix")
claims.claim("held", claims.sessions.register("another").holder)
with filelock.SoftFileLock(sys.argv[2]):
    print(flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", code, directory, lock]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as another:
        assert another.stdout
        assert another.stdout.readline() == b"\n"
        yield
        another.communicate()


def cycles(directory: str) -> dict[str, Run]:
    claims = Claims.open(directory, "posix")
    me = claims.sessions.register().holder

    def ours(name: str = "repo-x") -> None:
        outcome = claims.claim(name, me)
        assert isinstance(outcome, Won)
        claims.release_lease(outcome.lease)

    def by_name() -> None:
        claims.claim("repo-x", me)
        claims.release("repo-x", me)

    def held(name: str = "repo-x") -> None:
        with hold(name, data_dir=directory, backend="posix"):
            pass

    def cycle(lock: filelock.BaseFileLock) -> Run:
        def run() -> None:
            lock.acquire()
            lock.release()

        return run

    def floor(run: Callable[[str], object], name: str) -> Run:
        for _ in range(20):  # There is something to be pruned.
            run(name)
        return floor_of(lambda: run(name), name, lambda: claims.show(name).generation)

    peers = ("FileLock", "SoftFileLock", "StrictSoftFileLock")
    return (
        {"ours: claim, release_lease": ours, "ours: claim, release": by_name, "ours: with hold": held}
        | {"the floor of claim, release_lease": floor(ours, "floor-x"), "the floor of with hold": floor(held, "floor-y")}
        | {f"filelock.{name}": cycle(getattr(filelock, name)(f"{directory}/{name}")) for name in peers}
    )


def refusals(directory: str, lock: str) -> dict[str, Run]:
    claims = Claims.open(directory, "posix")
    me = claims.sessions.register().holder
    soft = filelock.SoftFileLock(lock)

    def ours() -> None:
        outcome = claims.claim("held", me)
        assert isinstance(outcome, Held)

    def theirs() -> None:
        try:
            soft.acquire(blocking=False)
        except filelock.Timeout:
            return
        raise AssertionError

    return {"ours: claim, refused": ours, "filelock.SoftFileLock, refused": theirs}


def compare(runs: dict[str, Run], ours: tuple[str, ...]) -> None:
    timed: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(ROUNDS):
        first = turn % len(runs)  # None always comes after the same one, whose traces in the caches would be its own.
        for name, run in [*runs.items()][first:] + [*runs.items()][:first]:
            begin = time.perf_counter()
            for _ in range(CYCLES):
                run()
            timed[name].append((time.perf_counter() - begin) / CYCLES * 1e6)
    for name, times in timed.items():
        ratios = [statistics.median(a / b for a, b in zip(timed[mine], times, strict=True)) for mine in ours]
        told = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"{statistics.median(times):8.1f} us  {name:36} ours is {told} x")


def main() -> None:
    base = sys.argv[1] if len(sys.argv) > 1 else "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=base) as directory:
        print("ours: the first is claim and release_lease, the second `with hold`")
        compare(cycles(directory), ("ours: claim, release_lease", "ours: with hold"))
        lock = f"{directory}/refused"
        with held_by_another(directory, lock):
            compare(refusals(directory, lock), ("ours: claim, refused",))


if __name__ == "__main__":
    main()
