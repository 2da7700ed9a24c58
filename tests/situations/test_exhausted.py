"""No descriptor is left when this system is looked at for the first time. Later there are: see the truth.

What was read once, and failed, must not blind a process for its life. The limit is the kernel's, RLIMIT_NOFILE, set by an
audit hook just before the file in question is opened, and put back just after.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from support.capabilities import needs_proc

from .support import HOST, Party, python

CORPSE = """
import sys
from looop_portable import Claims
claims = Claims.open(sys.argv[1])
me = claims.sessions.register("silent").holder
claims.claim("corpse", me)
claims.claim("living", me) if sys.argv[2] == "lives" else None
print("holds", flush=True)
sys.stdin.readline()
"""
BLINDED = """
import os, resource, sys, time
from looop_portable import ClaimHeld, Claims, LooopError, hold
store, what = sys.argv[1], sys.argv[2].replace("PID", str(os.getpid()))
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
failures = 0

def exhaust(event, arguments):
    global failures
    if event in ("open", "os.listdir", "os.scandir"):
        left = failures < int(sys.argv[3])
        is_it = event == "open" and str(arguments[0]).startswith(what) and left
        failures += is_it
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]) if is_it else limits)

sys.addaudithook(exhaust)
for first in (lambda: Claims.open(store).sessions.statuses(), lambda: hold("first", data_dir=store).__enter__()):
    try:
        first()
    except (LooopError, OSError) as error:
        print("at first:", error, file=sys.stderr)
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
assert failures, "it was never opened"
failures = 1000
try:
    hold("living", data_dir=store).__enter__()
    print("got in", flush=True)
except ClaimHeld as error:
    print("refused", flush=True)
with hold("corpse", data_dir=store, timeout=20) as lease:
    print("generation", lease.generation, flush=True)
"""
FILES = ["/proc/sys/kernel/random/boot_id", "/proc/PID/stat", "/proc/self/mountinfo"]


@needs_proc
@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("file", FILES)
def test_what_was_read_once_and_failed_blinds_nobody(tmp_path: Path, file: str, times: int) -> None:
    """The holders promised no heartbeat: only whoever sees their processes can tell the dead from the living."""
    with Party(*python(CORPSE.replace("silent", "dead"), str(tmp_path), "")) as corpse:
        assert corpse.says() == "holds"
    with HOST.party(*python(CORPSE.replace("corpse", "living"), str(tmp_path), "")) as living:
        assert living.says() == "holds"
        with HOST.party(*python(BLINDED, str(tmp_path), file, str(times))) as blinded:
            assert blinded.says() == "refused"
            assert blinded.says() == "generation 2"
