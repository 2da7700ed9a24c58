"""`looop` as on a system that is neither Linux nor Windows: `python elsewhere.py VERB ...`. For tests, where this is Linux.

What only Linux has is taken away before anything of ours is imported: what sends a signal is not told, there is no pidfd,
no eventfd, no inotify, no prctl(2) and no /proc, and poll(2) tells nothing of what it is asked nothing about, as on macOS.
With ELSEWHERE=kqueue in the environment there is a kqueue(2): see `kqueues`.
What is left is real: processes, groups, sessions, terminals, pipes and signals. It proves nothing of another kernel.
"""

from __future__ import annotations

import builtins
import ctypes
import importlib
import os
import select
import selectors
import signal
import sys
from typing import Any

KNOW = "asyncio.unix_events multiprocessing subprocess threading psutil"
"""What must know on which system it really is."""

LACKING: dict[Any, str] = {
    signal: "sigwaitinfo sigtimedwait pidfd_send_signal",
    os: "pidfd_open eventfd eventfd_read eventfd_write memfd_create O_TMPFILE O_PATH",
    select: "epoll",
}
CALLS = ("prctl", "renameat2", "inotify_init1", "inotify_init", "inotify_add_watch", "pidfd_open", "eventfd", "syscall")


class Libc:
    """libc, without what is Linux's. Calling that is an error that nobody handles."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        assert name not in CALLS, f"{name} is called, which is Linux's"
        return getattr(self._real, name)


class Poll:
    """Tells nothing, not even a hang-up, of what it is asked nothing about."""

    def __init__(self) -> None:
        assert _real_poll
        self._poll = _real_poll()

    def register(self, fd: Any, events: int = 1) -> None:
        if events:
            self._poll.register(fd, events)

    def poll(self, timeout: float | None = None) -> Any:
        return self._poll.poll(timeout)


_IS_ELSEWHERE = hasattr(select, "kqueue")
_real_poll = getattr(select, "poll", None)
_real_open, _real_listdir, _real_cdll = builtins.open, os.listdir, ctypes.CDLL


def take_away() -> None:
    """All of it, in this process. Nothing of ours may have been imported yet. Where there is a kqueue there is none."""
    if _IS_ELSEWHERE:
        return
    assert not [name for name in sys.modules if name.startswith("looop_portable")]
    known = {name: importlib.import_module(name) for name in KNOW.split()}
    known["asyncio.unix_events"].can_use_pidfd = lambda: False  # type: ignore[attr-defined]
    for module, names in LACKING.items():
        for name in names.split():
            if hasattr(module, name):
                delattr(module, name)
    selectors.DefaultSelector = selectors.SelectSelector  # type: ignore[misc,assignment]
    ctypes.CDLL = lambda name=None, *args, **options: (  # type: ignore[misc,assignment]
        Libc(_real_cdll(None, *args, **options)) if name is None else _real_cdll(name, *args, **options)
    )
    select.poll = Poll  # type: ignore[misc,assignment]
    builtins.open = _open
    os.listdir = _listdir
    sys.platform = "freebsd14"


def _ours() -> bool:
    return str(sys._getframe(2).f_globals.get("__name__", "")).startswith("looop_portable")


def _open(file: Any, *args: Any, **options: Any) -> Any:
    if _ours() and str(file).startswith("/proc"):
        raise FileNotFoundError(2, "No such file or directory", file)
    return _real_open(file, *args, **options)


def _listdir(path: Any = ".") -> Any:
    if _ours() and str(path).startswith("/proc"):
        raise FileNotFoundError(2, "No such file or directory", path)
    return _real_listdir(path)


if __name__ == "__main__":
    if os.environ.get("ELSEWHERE") == "kqueue":
        importlib.import_module("kqueues").put_in_place()
    take_away()
    from looop_portable.__main__ import main

    main()
