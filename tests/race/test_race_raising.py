"""A storm of signals whose handlers raise, at any moment of entering, holding, waiting and leaving.

In a process of its own, whose main thread runs the blocks; what is held after each is asked with the eyes of another
session.
RAISING_BLOCKS says how many blocks each kind runs; 10,000 in all is the long form.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.capabilities import needs_timers

BLOCKS = int(os.environ.get("RAISING_BLOCKS", "60"))
KINDS = ["hold", "kept", "waiting", "contended", "all", "slots", "claim_all", "wait_for", "memory"]


@needs_timers
@pytest.mark.parametrize("error", ["Late", "Ended", "KeyboardInterrupt"])
@pytest.mark.parametrize("kind", KINDS)
def test_after_a_storm_nothing_is_held_lost_or_left_behind(tmp_path: Path, kind: str, error: str) -> None:
    command = [sys.executable, "-c", STORM, str(tmp_path), kind, error, str(BLOCKS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60 + BLOCKS, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.pop("raised") > BLOCKS // 10
    assert found == {"held": [], "refused": [], "descriptors": [], "tickets": 0, "threads": True}


STORM = r"""
import faulthandler, gc, json, os, random, signal, sys, threading, time
from pathlib import Path
from looop_portable import ClaimHeld, Claims, Held, LooopError, claim_all, hold, hold_all, wait_for
from looop_portable.holding.member import this_process

store, kind, error, blocks = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
faulthandler.dump_traceback_later(50 + blocks, exit=True)
backend = "memory" if kind == "memory" else "posix"

class Late(Exception): ...
class Ended(BaseException): ...
errors = {"Late": Late, "Ended": Ended, "KeyboardInterrupt": KeyboardInterrupt}
armed = [False]

def handler(number, frame):
    if armed[0]:
        raise errors[error]

signal.signal(signal.SIGALRM, handler)
others = None
keep = []

def block():
    if kind in ("hold", "memory"):
        with hold("n", data_dir=store, backend=backend):
            time.sleep(random.random() / 3000)
    elif kind == "kept":
        keep.append(hold("n", data_dir=store, backend=backend))
        with keep[-1]:
            time.sleep(random.random() / 3000)
    elif kind == "waiting":
        with hold("n", data_dir=store, backend=backend, timeout=random.choice([0.5, None])):
            time.sleep(random.random() / 3000)
    elif kind == "contended":
        with hold("n", data_dir=store, backend=backend, timeout=random.choice([0.001, 0.5, None])):
            time.sleep(random.random() / 3000)
    elif kind == "all":
        with hold_all("n", "m", data_dir=store, backend=backend, timeout=random.choice([0, 0.5])):
            time.sleep(random.random() / 3000)
    elif kind == "slots":
        with hold("n", data_dir=store, backend=backend, slots=2, timeout=random.choice([0, 0.5])):
            time.sleep(random.random() / 3000)
    else:
        time.sleep(random.random() / 3000)
        if kind == "claim_all":
            found = claim_all(claims, ["n", "m"], me, random.choice([0, 0.5]))
        else:
            found = wait_for(claims, "n", me, random.choice([0, 0.5, None]))

claims = Claims.open(store, backend)
me = None
with hold("n", data_dir=store, backend=backend) as first:
    if kind == "memory":
        claims = list(this_process().members.values())[0].claims
if kind in ("claim_all", "wait_for"):
    me = claims.sessions.register("me").holder
names = ["n", "m", "n#1", "n#2"]
block()
if me:
    for name in names:
        claims.release(name, me)
gc.collect()
def opened():
    found = []
    for fd in Path("/dev/fd").glob("*"):
        try:
            found.append(os.readlink(fd))
        except OSError:
            pass
    return found
fds = opened()
threads = threading.active_count()

stop = threading.Event()
def contend():
    while not stop.is_set():
        try:
            with hold("n", data_dir=store, backend=backend, timeout=1):
                time.sleep(random.random() / 2000)
        except LooopError:
            pass
        time.sleep(random.random() / 2000)
contender = threading.Thread(target=contend)
if kind == "contended":
    contender.start()

held, refused, raised, longest = [], [], 0, 0.002
for number in range(blocks):
    began = time.perf_counter()
    try:
        armed[0] = True
        try:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, longest), random.choice([0, 0, 0.0002]))
            block()
            done = True
        finally:
            armed[0] = False
            signal.setitimer(signal.ITIMER_REAL, 0)
    except errors[error]:
        raised += 1
        done = False
    except ClaimHeld as found:
        done = None
        if kind != "contended":
            refused.append((number, str(found)))
    except LooopError as found:
        refused.append((number, str(found)))
        done = None
    armed[0] = False
    signal.setitimer(signal.ITIMER_REAL, 0)
    if done is not False:
        longest = longest * 0.9 + 0.1 * 1.2 * (time.perf_counter() - began)
        if me:
            for name in names:
                claims.release(name, me)
    if kind != "contended":
        for name in names:
            for _ in range(200):  # What was interrupted more than once is settled by another thread.
                lease = claims.show(name).lease
                if lease is None or (me and done):
                    break
                time.sleep(0.005)
            if lease:
                held.append((number, name))
    keep.clear()
stop.set()
if kind == "contended":
    contender.join()
for name in names:
    if (lease := claims.show(name).lease):
        held.append(name)
    try:
        with hold(name, data_dir=store, backend=backend):
            pass
    except LooopError as found:
        refused.append((name, str(found)))
gc.collect()
end = time.monotonic() + 10
def left():
    found = opened()
    for one in fds:
        if one in found:
            found.remove(one)
    return [one for one in found if "inotify" not in one or found.count(one) > 2]  # Some are kept, to be used again.
while time.monotonic() < end and (left() or threading.active_count() > threads + 9):
    time.sleep(0.01)
tickets = 0 if kind == "memory" else sum(1 for path in Path(store, "claims/.queue").glob("*/*"))
faulthandler.cancel_dump_traceback_later()
print(json.dumps({"raised": raised, "held": held[:5], "refused": refused[:5], "descriptors": left(), "tickets": tickets,
    "threads": threading.active_count() <= threads + 9}))
"""
