"""A process that is there and cannot be examined: hidden by hidepid, shut by a security module, or no /proc at all.

That it cannot be looked at is not the end of the inquiry: the next sign counts. A zombie is as hidden as a living process,
and keeps its process id until its parent looks for it, which may be never.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.capabilities import namespaces_or_skip, works_or_skip

from .support import HOLDER, HOST, PATIENCE, WATCHED, Party, Place, let_in, never_free, python

ANNE, BERT, GROUP = 63_121, 63_122, 63_120
_BECOME = """
import os, sys, tempfile, time
from looop_portable import ClaimHeld, hold
with tempfile.TemporaryDirectory() as aside, hold("v", data_dir=aside):
    pass  # All is imported: another user may not be able to read our Python's libraries.
os.setgroups([])
os.setresgid(63120, 63120, 63120)
os.setresuid(*[int(sys.argv[2])] * 3)
os.umask(0o002)
"""
ANNES = f"""{_BECOME}
with hold("v", data_dir=sys.argv[1], lease_seconds=3) as lease:
    print(os.getpid(), flush=True)
    sys.stdin.readline()
    lease.check()
"""
BERTS = f"""{_BECOME}
while True:
    try:
        with hold("v", data_dir=sys.argv[1], lease_seconds=3):
            print("got in", flush=True)
            break
    except ClaimHeld as error:
        print("refused:", error.evidence, flush=True)
    time.sleep(0.1)
"""
_MOUNT = ["unshare", "--mount", "sh", "-c"]
_HIDEPID = 'mount -t proc -o hidepid=2 proc /proc && exec "$@"'
_SHUT = 'f=$(mktemp) && chmod 0 "$f" && mount --bind "$f" "/proc/$0/stat" && rm "$f" && exec "$@"'
_NONE = 'mount -t tmpfs -o mode=0 none /proc && exec "$@"'


@pytest.fixture
def shared() -> Iterator[Path]:
    """Not below tmp_path, which is shut to other users."""
    namespaces_or_skip()
    if not hasattr(os, "geteuid") or os.geteuid():
        pytest.skip("cannot become another user (needs CAP_SETUID)")
    directory = Path(tempfile.mkdtemp(prefix="shared-"))
    os.chown(directory, 0, GROUP)
    directory.chmod(0o2770)
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


@pytest.mark.parametrize("how", [_HIDEPID, _SHUT], ids=["hidepid", "stat cannot be read"])
def test_another_users_process_that_cannot_be_examined(shared: Path, how: str) -> None:
    with ExitStack() as stack:
        anne = stack.enter_context(HOST.party(*python(ANNES, str(shared), str(ANNE))))
        pid = anne.says()
        works_or_skip("a hidden process", [*_MOUNT, how, pid, "true"])
        bert = stack.enter_context(Party(*_MOUNT, how, pid, *python(BERTS, str(shared), str(BERT))))
        for _ in range(int(WATCHED / 0.1)):
            assert bert.says().startswith("refused")
        anne.process.kill()  # Not waited for: a zombie from now on.
        os.waitid(os.P_PID, anne.process.pid, os.WEXITED | os.WNOWAIT)
        assert _last_word(bert) == "got in"


def _last_word(party: Party) -> str:
    end = time.monotonic() + PATIENCE
    said = party.says()
    while said.startswith("refused") and time.monotonic() < end:
        said = party.says()
    return said


def test_without_proc_the_next_sign_counts(tmp_path: Path) -> None:
    """A chroot, say: whoever asks sees no process at all, his own neither."""
    namespaces_or_skip()
    blind = Place("where there is no /proc", lambda: [*_MOUNT, _NONE, "sh"])
    with HOST.party(*python(HOLDER, str(tmp_path), "v")) as anne:
        assert anne.says() == "holds 1"
        assert let_in(tmp_path, ["v"], [blind]) == []
        anne.kill()
        assert never_free(tmp_path, ["v"], blind) == []
