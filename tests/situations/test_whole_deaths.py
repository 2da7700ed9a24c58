"""What is a whole proof stays one: whoever asks next takes over at once. No beat is waited for, and nobody asks twice.

The process is gone, seen in its own pid namespace, of a store on a local disk; or its end has been published.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import psutil
import pytest
from support.capabilities import namespaces_or_skip
from support.crew import until

from .support import ANOTHER_NAMESPACE, HOST
from .test_boot_ids import KINDS, command_of


@pytest.mark.parametrize("kind", KINDS)
def test_a_process_that_is_gone_in_its_own_namespace(tmp_path: Path, kind: str) -> None:
    namespaces_or_skip()
    with HOST.party(*command_of(kind, tmp_path)) as party:
        while not (said := party.says()).startswith("holds"):
            assert said
        party.kill()
        (asked,) = HOST.ask(tmp_path, kind)
        assert asked.code == 0, asked


@pytest.mark.parametrize("kind", ["run", "session"])
def test_an_end_that_was_published_is_seen_from_another_namespace(tmp_path: Path, kind: str) -> None:
    """`looop run` says that its command was killed; a session's keeper that its process was."""
    namespaces_or_skip()
    with HOST.party(*command_of(kind, tmp_path)) as party:
        while not (said := party.says()).startswith("holds"):
            assert said
        (asked,) = ANOTHER_NAMESPACE.ask(tmp_path, kind)
        assert asked.code == 1, asked
        below = psutil.Process(party.process.pid).children(recursive=True)
        itself = psutil.Process(party.process.pid).cmdline()  # And so is that of what guards the command.
        worker = next(each.pid for each in below if each.cmdline() != itself) if kind == "run" else party.process.pid
        os.kill(worker, signal.SIGKILL)
        party.process.wait()
        keepers = [each for each in psutil.process_iter() if str(tmp_path) in " ".join(_words(each))]
        assert until(lambda: not any(_runs(each) for each in keepers))
        (asked,) = ANOTHER_NAMESPACE.ask(tmp_path, kind)
        assert asked.code == 0, asked


def _runs(process: psutil.Process) -> bool:
    """Who has ended may not be put away for long: by whom, the tests before this one decide."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
