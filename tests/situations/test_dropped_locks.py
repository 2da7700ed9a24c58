"""A holder drops its session's lock by its own doing: it reads its own store, or closes what it does not know.

POSIX drops a process's record locks on a file when it closes any descriptor of that file (fcntl(2)): a backup or an indexer
inside `hold` does that. A daemon library closes all descriptors. Somebody sweeps what is called a lock away. Another pid
namespace sees no process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
from support.capabilities import namespaces_or_skip

from .support import ANOTHER_NAMESPACE, HOST, LEASE, Asked, Party, let_in, never_free, python

PROGRAM = """
import os, shutil, subprocess, sys, tarfile, tempfile, threading
from looop_portable import hold
store, name, deed, aside = sys.argv[1:]

def tar():
    with tarfile.open(f"{aside}/{name}.tar", "w") as file:
        file.add(store)

def copy():
    shutil.copytree(store, f"{aside}/{name}-copy", dirs_exist_ok=True)

def files():
    return [os.path.join(where, each) for where, _, found in os.walk(store) for each in found]

def index():
    for path in files():
        os.close(os.open(path, os.O_RDONLY))

def read():
    for path in files():
        with open(path, "rb") as file:
            file.read()

def sweep():
    for path in files():
        if os.path.basename(path).startswith("lock"):
            os.unlink(path)

def daemon():
    os.closerange(3, 4096)
    for number in range(64):
        mine.append((path := f"{aside}/{name}-{number}", os.open(path, os.O_RDWR | os.O_CREAT)))

def again_and_again():
    while not over.wait(0.2):
        try:
            globals()[deed]()
        except OSError:  # A file has gone meanwhile: another's.
            continue

def wrong():
    for path, fd in mine:
        try:
            same = os.path.samestat(os.fstat(fd), os.stat(path))
        except OSError:
            same = False
        free = not subprocess.call([sys.executable, "-c", LOCKS, path])
        if not (same and free):
            yield f"{path}: {'open' if same else 'closed'}, {'free' if free else 'locked'}"

LOCKS = '''
import fcntl, sys
file = open(sys.argv[1], "r+b")
fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
'''
mine, over, me = [], threading.Event(), os.getpid()
with hold(name, data_dir=store, lease_seconds=3) as lease:
    doing = threading.Thread(target=daemon if deed == "daemon" else again_and_again)
    doing.start()
    if deed == "daemon":
        doing.join()
    print("holds", flush=True)
    while (line := sys.stdin.readline().strip()) in ("here", "forked"):
        if line == "here" or os.fork() == 0:
            print(*wrong(), flush=True)
        if line == "forked" and os.getpid() != me:
            os._exit(0)
    over.set()
    doing.join()
    lease.check()
print(*wrong(), flush=True)
"""
DEEDS = ["tar", "copy", "index", "read", "daemon"]


class Told(NamedTuple):
    """What was answered otherwise than it is to be, while the holders lived and after they died; what `daemon`'s found."""

    lived: list[Asked]
    died: list[Asked]
    files: list[str]


def holder(store: Path, name: str, deed: str) -> Party:
    party = HOST.party(*python(PROGRAM, str(store), name, deed, str(store.parent)))
    assert party.says() == "holds"
    return party


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """Each deed by a holder of its own, all on one store, and two more that close all descriptors and leave in order."""
    namespaces_or_skip()
    aside = tmp_path_factory.mktemp("deeds")
    store = aside / "store"
    with ExitStack() as stack:
        parties = [stack.enter_context(holder(store, deed, deed)) for deed in DEEDS]
        leaver = stack.enter_context(holder(store, "leaver", "daemon"))
        lived = let_in(store, [*DEEDS, "leaver"], [ANOTHER_NAMESPACE], 2 * LEASE)
        files = []
        for line in ("here", "forked", "leave"):
            leaver.hears(line)
            files.append(leaver.says())
        files.append(f"exit {leaver.process.wait()}")
        for party in parties:
            party.kill()
        yield Told(lived, never_free(store, DEEDS, ANOTHER_NAMESPACE), files)


@pytest.mark.parametrize("deed", DEEDS)
def test_nobody_is_let_in_while_the_holder_lives(told: Told, deed: str) -> None:
    assert [asked for asked in told.lived if asked.name == deed] == []


@pytest.mark.parametrize("deed", DEEDS)
def test_the_claim_of_who_was_killed_is_free_in_the_end(told: Told, deed: str) -> None:
    assert [asked for asked in told.died if asked.name == deed] == []


def test_files_that_have_the_number_of_a_closed_lock_are_let_alone(told: Told) -> None:
    """While it holds, in a child of it, and when it has left: none of them is locked, or closed, and leaving succeeds."""
    assert told.files == ["", "", "", "exit 0"]


def test_a_lock_file_that_is_missing_proves_nothing(tmp_path: Path) -> None:
    """Of a holder in whose store somebody sweeps what is called a lock: neither that he lives, nor that he is dead."""
    namespaces_or_skip()
    with holder(tmp_path / "store", "sweep", "sweep") as party:
        assert let_in(tmp_path / "store", ["sweep"], [ANOTHER_NAMESPACE]) == []
        party.kill()
        assert never_free(tmp_path / "store", ["sweep"], ANOTHER_NAMESPACE) == []
