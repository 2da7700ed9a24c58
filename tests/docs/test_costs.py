"""The table of `docs/costs.md` is what is counted."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from support.capabilities import NATIVE, times_or_skip
from support.counting import Asked, asked

from looop_portable import Claims, Held, hold
from looop_portable.cli import main
from looop_portable.protocol.records import Holder
from looop_portable.protocol.shares import slots_of
from looop_portable.system.files import OS
from looop_portable.waiting.attempts import claim_any

DOCUMENT = Path(__file__).parents[2] / "docs" / "costs.md"
HUNDRED = [f"n{number}" for number in range(100)]


class Scene:
    """A store in which `me` and `other` are registered, and have claimed and released before."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        claims = self.claims
        self.me, self.other = (claims.sessions.register(session).holder for session in ("me", "other"))
        for name in ("mine", "theirs", "free"):
            claims.claim(name, self.other)
            claims.release(name, self.other)
        claims.claim("mine", self.me)
        claims.claim("theirs", self.other)

    @property
    def claims(self) -> Claims:
        """As a process finds them that has done nothing yet."""
        return Claims.open(str(self.directory), NATIVE)

    def hold(self, names: list[str], holder: Holder) -> None:
        claims = self.claims
        for name in names:
            claims.claim(name, holder)


def command(*args: str, code: int = 0) -> Asked:
    with asked(Path(os.environ["LOOOP_DATA_DIR"])) as found, pytest.raises(SystemExit) as end:
        main(args)
    assert end.value.code == code
    return found


def hundred(scene: Scene, work: Callable[[], Asked]) -> Asked:
    scene.hold(HUNDRED, scene.other)
    return work()


def reap(scene: Scene) -> Asked:
    if os.unlink not in os.supports_dir_fd:
        pytest.skip("nothing can be removed in a directory that is open: it is listed once more")
    return hundred(scene, lambda: command("reap"))


def end(scene: Scene, others: int, *, here: bool = True) -> Asked:
    """`here`: as of `looop run`, in the process that has registered and claimed. Else as of `session stop`."""
    scene.hold(HUNDRED[:others], scene.other)
    began = OS.now(str(scene.directory))
    while OS.now(str(scene.directory)) < began + 50_000_000:
        pass  # What was touched in the moment before is read.
    claims = scene.claims
    holder = claims.sessions.register("run").holder
    if here:
        times_or_skip(claims, scene.directory)
    claims.claim("of-run", holder)
    claims = claims if here else scene.claims
    with asked(scene.directory) as found:
        assert [each.name for each in claims.retire(holder).released] == ["of-run"]
    return found


def slots(scene: Scene) -> Asked:
    wanted = slots_of("slot", 100)
    scene.hold(wanted, scene.other)
    claims = scene.claims
    with asked(scene.directory) as found:
        assert isinstance(claim_any(claims, wanted, scene.me), Held)
    return found


def block(scene: Scene) -> Asked:
    """The second one of this process."""
    with hold("block", data_dir=str(scene.directory), backend=NATIVE, lease_seconds=3600):
        pass
    with asked(scene.directory) as found, hold("block", data_dir=str(scene.directory), backend=NATIVE, lease_seconds=3600):
        pass
    return found


def cycle(scene: Scene) -> Asked:
    """The second one of this process."""
    claims = scene.claims
    for _ in range(2):
        with asked(scene.directory) as found:
            claims.claim("cycle", scene.me)
            claims.release("cycle", scene.me)
    return found


COUNTED: dict[str, Callable[[Scene], Asked]] = {
    "`looop claim`, won": lambda _: command("claim", "free", "--session", "me"),
    "`looop claim`, ours already": lambda _: command("claim", "mine", "--session", "me"),
    "`looop claim`, refused": lambda _: command("claim", "theirs", "--session", "me", code=1),
    "`looop unclaim`": lambda _: command("unclaim", "mine", "--session", "me"),
    "`looop check`": lambda _: command("check", "mine", "--generation", "3"),
    "`looop show`": lambda _: command("show", "mine"),
    "`looop claims`, 100 of one session and 2": lambda scene: hundred(scene, lambda: command("claims")),
    "`looop reap --dry-run`, 100 of one session and 2": lambda scene: hundred(scene, lambda: command("reap", "--dry-run")),
    "`looop reap`, 100 of one session and 2, all kept": reap,
    "the end of `looop run`, 1 claim, beside 2 older ones": lambda scene: end(scene, 0),
    "the end of `looop run`, 1 claim, beside 102 older ones": lambda scene: end(scene, 100),
    "`looop session stop`, 1 claim, beside 2 others": lambda scene: end(scene, 0, here=False),
    "`looop session stop`, 1 claim, beside 102 others": lambda scene: end(scene, 100, here=False),
    "one slot of 100, all held by one session": slots,
    "`claim` and `release` again, in one process": cycle,
    "`with hold`, again": block,
}


def test_the_table_has_every_verb_that_is_counted() -> None:
    assert list(table()) == list(COUNTED)


@pytest.mark.parametrize("what", COUNTED)
def test_the_costs_are_as_the_table_says(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOOP_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("LOOOP_BACKEND", NATIVE)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("LOOOP_SESSION_ID", "LOOOP_HOST_ID"):
        monkeypatch.delenv(name, raising=False)
    found = COUNTED[what](Scene(tmp_path / "data"))
    assert table()[what] == found.counts, (found.reads, found.listings)


def table() -> dict[str, tuple[int, int]]:
    rows = re.findall(r"^\| (.+?) \| (\d+) \| (\d+) \|$", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {what: (int(reads), int(listings)) for what, reads, listings in rows}
