"""A boot id of one's own per container, on one directory: another boot id is no reboot while its holder lives.

systemd-nspawn, LXC, Incus and Proxmox mount a random file over the boot id. Three holders in one such container, asked for
from another one and from the host, or on the host and asked for from two; then they are killed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from .containers import SITUATIONS, Situation, mounted, swept
from .support import HOLDER, HOST, LOOOP, Asked, Place, let_in, never_free, python

KINDS = ["run", "hold", "session"]
_SESSION = """
"$0" -m looop_portable --data-dir "$1" session start w --pid $$ &&
"$0" -m looop_portable --data-dir "$1" claim session --session w && echo holds 1 && read line
"""


def command_of(kind: str, store: Path) -> list[str]:
    """A program that holds the claim that is called as its kind, for as long as it lives."""
    if kind == "hold":
        return python(HOLDER, str(store), kind)
    if kind == "session":
        return ["sh", "-c", _SESSION, sys.executable, str(store)]
    return [*LOOOP, "--data-dir", str(store), "run", "--claim", kind, "--", "sh", "-c", "echo holds 1; read line"]


class Watched(NamedTuple):
    """What was answered otherwise than it is to be: while they lived, and after they died."""

    lived: list[Asked]
    died: list[Asked]


def watch(store: Path, inside: Place, places: list[Place], heir: Place) -> Watched:
    """Of holders `inside`, asked for from all `places` while they live, and by `heir` after they died."""
    with ExitStack() as stack:
        parties = [stack.enter_context(inside.party(*command_of(kind, store))) for kind in KINDS]
        for party in parties:
            while not (said := party.says()).startswith("holds"):
                assert said.startswith(("w", "claimed")), said
        lived = let_in(store, KINDS, places)
        for party in parties:
            party.kill()
        return Watched(lived, never_free(store, KINDS, heir))


def tried(situation: Situation, aside: Path) -> Watched:
    with ExitStack() as stack:
        stack.callback(swept, aside)
        first, second = situation.container(aside), situation.container(aside)
        store = (stack.enter_context(mounted(situation.filesystem, aside)) if situation.filesystem else aside) / "store"
        inside, places = (HOST, [first, second]) if situation.holder == "host" else (first, [second, HOST])
        return watch(store, inside, places, HOST if situation.heir == "host" else second)


@pytest.fixture(scope="module")
def all_watched(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Watched]]]:
    """All situations that are asked for, two at a time: most of their time they wait."""
    params = [getattr(item, "callspec", None) for item in request.session.items if item.path == request.path]
    names = sorted({each.params["name"] for each in params if each})
    with ThreadPoolExecutor(2) as pool:
        yield {name: pool.submit(tried, SITUATIONS[name], tmp_path_factory.mktemp("containers")) for name in names}


@pytest.fixture
def watched(all_watched: dict[str, Future[Watched]], name: str) -> Watched:
    """Skips where that one did."""
    return all_watched[name].result()


@pytest.mark.parametrize("name", SITUATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_nobody_is_let_in_while_the_holder_lives(watched: Watched, kind: str) -> None:
    assert [asked for asked in watched.lived if asked.name == kind] == []


@pytest.mark.parametrize("name", SITUATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_claim_of_who_was_killed_is_free_in_the_end(watched: Watched, kind: str) -> None:
    assert [asked for asked in watched.died if asked.name == kind] == []
