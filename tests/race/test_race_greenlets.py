"""Programs that eventlet or gevent has patched: their threads are greenlets, and a call that blocks one blocks all.

Each runs in a process of its own, which is killed when it hangs: a patch cannot be taken back.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from looop_portable import Claims, Held, Won

PATIENCE = 120.0

PATCHES = {
    "eventlet": "import warnings\nwarnings.simplefilter('ignore')\nimport eventlet\neventlet.monkey_patch()\n",
    "gevent": "from gevent import monkey\nmonkey.patch_all()\n",
}


def works(library: str) -> bool:
    """Whether it can be imported here, and patches what a program uses."""
    program = f"{PATCHES[library]}import threading, time\nthreading.Thread(target=time.sleep, args=(0,)).start()\n"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=PATIENCE, check=False)
    return done.returncode == 0


@pytest.fixture(scope="module", params=PATCHES)
def patched(request: pytest.FixtureRequest) -> str:
    """The program that patches itself so."""
    if not works(request.param):
        pytest.skip(f"{request.param} cannot be imported, or does not work with this Python")
    return PATCHES[request.param]


def says(patched: str, program: str, *arguments: str) -> str:
    command = [sys.executable, "-c", patched + program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


FREE = """
import sys
from looop_portable import hold
for name in "ab":
    with hold(name, data_dir=sys.argv[1], timeout=5) as block:
        block.check()
        print(block.generation)
"""


def test_what_is_free_is_held_at_once_though_it_may_be_waited_for(patched: str, tmp_path: Path) -> None:
    assert says(patched, FREE, str(tmp_path)) == "1\n1"


TURNS = """
import sys, threading
from looop_portable import hold
inside, came = [], []
def work(number, lease):
    for _ in range(5):
        with hold("n", data_dir=sys.argv[1], backend=sys.argv[2], timeout=60, lease_seconds=lease):
            assert not inside
            inside.append(number)
            time.sleep(0.001)
            inside.pop()
            came.append(number)
import time
threads = [threading.Thread(target=work, args=(number, 30 + number % int(sys.argv[3]))) for number in range(10)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(came))
"""


@pytest.mark.parametrize(("backend", "sessions"), [("auto", 1), ("auto", 2), ("memory", 1)])
def test_greenlets_hand_it_over(patched: str, tmp_path: Path, backend: str, sessions: int) -> None:
    assert says(patched, TURNS, str(tmp_path), backend, str(sessions)) == "50"


LONGER = """
import sys, threading, time
from looop_portable import hold
ticks = []
def tick():
    while True:
        ticks.append(1)
        time.sleep(0.05)
threading.Thread(target=tick, daemon=True).start()
with hold("n", data_dir=sys.argv[1], lease_seconds=3, on_lost=lambda block: print("lost")) as block:
    beat = block._block._session.pulse
    first, end = beat.renewed_at, time.monotonic() + 60
    while beat.renewed_at - first < 4 and time.monotonic() < end:
        time.sleep(0.1)
    block.check()
    print(beat.renewed_at - first >= 4, len(ticks) > 10)
"""


def test_heartbeats_go_on_for_longer_than_the_lease_beside_other_greenlets(patched: str, tmp_path: Path) -> None:
    assert says(patched, LONGER, str(tmp_path)) == "True True"


WAITS = """
import sys, threading, time
from looop_portable import WaitedTooLong, hold
ticks = []
def tick():
    while True:
        ticks.append(1)
        time.sleep(0.01)
threading.Thread(target=tick, daemon=True).start()
try:
    with hold("n", data_dir=sys.argv[1], timeout=1):
        pass
except WaitedTooLong:
    print("too long", len(ticks) > 10, flush=True)
with hold("n", data_dir=sys.argv[1], timeout=60) as block:
    print(block.generation)
"""


def test_another_processs_claim_is_waited_for_while_other_greenlets_run(patched: str, tmp_path: Path) -> None:
    claims = Claims.open(tmp_path)
    me = claims.sessions.register("other").holder
    assert isinstance(claims.claim("n", me), Won)
    command = [sys.executable, "-c", patched + WAITS, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as waits:
        assert waits.stdout
        assert waits.stdout.readline() == "too long True\n"
        assert isinstance(claims.claim("n", claims.sessions.register("third").holder), Held)
        claims.release("n", me)
        assert waits.communicate(timeout=PATIENCE)[0] == "3\n"


IDLE = """
import sys, threading
from looop_portable import hold
from looop_portable.sessions import idleness
idleness.LEASES = 0
with hold("n", data_dir=sys.argv[1], lease_seconds=3):
    pass
import time
end = time.monotonic() + 60
while threading.active_count() > 2 and time.monotonic() < end:
    time.sleep(0.05)
print(threading.active_count())
with hold("n", data_dir=sys.argv[1], lease_seconds=3) as block:
    print(block.generation)
"""


def test_a_session_that_is_idle_leaves(patched: str, tmp_path: Path) -> None:
    assert says(patched, IDLE, str(tmp_path)) == "2\n3"  # The main one, and the one that settles what signals interrupt.
