"""What `looop run` does with the signals that have come for its command."""

from __future__ import annotations

import signal

import pytest
from support.capabilities import needs_signal_masks, needs_timed_signals


@needs_signal_masks
@needs_timed_signals
def test_a_signal_that_another_thread_has_taken_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from looop_portable.running.child.posix import Child

    child = Child(["true"])
    monkeypatch.setattr(child, "_signals", {signal.SIGUSR1})
    seen = [set[int](), {signal.SIGUSR1}, {signal.SIGUSR1}]
    monkeypatch.setattr(signal, "sigpending", seen.pop)
    child._drain()
    assert seen == []
