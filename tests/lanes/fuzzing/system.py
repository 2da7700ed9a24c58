"""What the system tells: /proc, the list of mounts, ps(1)."""

from __future__ import annotations

import io
import subprocess
import sys
from typing import Any
from unittest import mock

from lanes.fuzzing.target import Target, text
from looop_portable.running import caller
from looop_portable.system import mounts, processes

_STAT = b"12 (a) b) (c) S 1 12 12 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 7777 1 1 18446744073709551615\n"
_MOUNTS = b"36 35 98:0 /m /a\\040b rw,noatime master:1 - nfs4 h:/x rw,local_lock=all\n1 0 0:1 / / rw - tmpfs t rw\n"
_PS = b"      PID    PPID    PGID     WINPID   TTY\nS      12       1      12       4242   pty0\n"


def _opened(data: bytes) -> Any:
    return mock.Mock(side_effect=lambda *_, **__: io.BytesIO(data))


def _stat(data: bytes) -> None:
    with mock.patch.object(processes, "open", _opened(data), create=True):
        try:
            processes._stat(12)
        except OSError:
            return
        except UnicodeDecodeError as error:  # `start_of` reads only what is in ASCII.
            raise AssertionError from error


def _descendants(data: bytes) -> None:
    from looop_portable.system.processes import descendants

    with mock.patch.object(descendants, "open", _opened(data), create=True):
        found = descendants._look(12)
        if found:
            assert descendants.named(found).isprintable()
        descendants._has_words(12, frozenset({b"A=1"}))


def _mounts(data: bytes) -> None:
    for each in mounts.parse(data):
        assert isinstance(each.network and each.smb, bool)
        assert isinstance(each.disk + each.local_guard, str)
    mounts.above("/a b/c", mounts.parse(data))


def _ps(data: bytes) -> None:
    def run(*_: object, **__: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 0, data.decode(errors="replace"), "")

    with mock.patch.object(caller, "found", return_value="ps"):
        assert isinstance(caller.unix_pid(12, run), int)


def _words(data: bytes) -> None:
    with mock.patch.object(caller, "open", _opened(data), create=True):
        name, ends = caller.described(12)
        assert isinstance(name, str)
        assert isinstance(ends, bool)
    text(data)


TARGETS = [Target("mounts", _mounts, (_MOUNTS,), 10), Target("ps", _ps, (_PS,), 4)]
if sys.platform == "linux":
    TARGETS += [
        Target("stat", _stat, (_STAT,), 3),
        Target("descendants", _descendants, (_STAT,), 3),
        Target("cmdline", _words, (b"-bash\0-c\0looop\0",), 3),
    ]
