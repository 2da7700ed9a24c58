"""Processes that want it, wait, and tell when they have it: what `troupe` starts.

    python benchmarks/member.py CONTENDER DIRECTORY IN,OUT...      (the descriptors of two pipes for each)

They are forked before anything but the imports has been done. Each does what it reads, a letter at a time: g, go and get
it; t, get it without waiting; r, release it. At the end it ends. What it tells are records (`RECORD`): what, when, and its
ended children's CPU time; nanoseconds of CLOCK_MONOTONIC and of CPU. Each is written while the member holds, or before it
waits, or after it has let go, so that telling delays no hand-over but by the core that it runs on.
"""

from __future__ import annotations

import os
import resource
import struct
import sys
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from contenders import MAKERS, Contender

RECORD = struct.Struct("=cqq")
READY, ASKS, HAS, RELEASES = b"R", b"A", b"H", b"L"
"""READY has the process id for a time."""


class Pipes(NamedTuple):
    asked: int
    told: int

    def tell(self, what: bytes, when: int) -> None:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        os.write(self.told, RECORD.pack(what, when, int((used.ru_utime + used.ru_stime) * 1e9)))

    def close(self) -> None:
        for pipe in self:
            os.close(pipe)


def serve(name: str, contender: Contender, pipes: Pipes) -> None:
    if contender.attempt():  # The first time makes what later ones find: files, sessions, threads.
        contender.release()
    pipes.tell(READY, os.getpid())
    while word := os.read(pipes.asked, 1):
        if word == b"r":
            released = time.monotonic_ns()
            contender.release()
            pipes.tell(RELEASES, released)
            continue
        pipes.tell(ASKS, time.monotonic_ns())
        if word == b"g":
            contender.acquire()
        elif not contender.attempt():
            raise SystemExit(f"{name}: refused, though nobody holds it")
        pipes.tell(HAS, time.monotonic_ns())


def main(makers: Mapping[str, Callable[[str], Contender]] = MAKERS) -> None:
    name, directory, *words = sys.argv[1:]
    all_pipes = [Pipes(*map(int, word.split(","))) for word in words]
    for pipes in all_pipes:
        if os.fork() == 0:
            for others in all_pipes:
                if others != pipes:  # Without this, nobody would see the end of a member.
                    others.close()
            for pipe in pipes:
                os.set_inheritable(pipe, False)
            return serve(name, makers[name](directory), pipes)
    for pipes in all_pipes:
        pipes.close()
    for _ in all_pipes:
        os.wait()
    return None


if __name__ == "__main__":
    main()
