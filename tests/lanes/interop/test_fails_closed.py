"""Why sharing needs looop 1.0: an older one takes a claim from a live holder when it cannot tell who lives.

Looop 0.57 holds the guard that ours hold, so it looks like enough. But it takes sessions that it cannot list for dead, and
it grants a claim to whoever has no session id. 1.0 and later refuse both.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .parties import HELD, REFUSED, RELEASED, WON, Ours, Theirs, shown

NAME = "repo-x"


@contextmanager
def a_file_in_its_place(directory: Path) -> Iterator[None]:
    """As for a moment while a disk is mounted, or a backup is put back."""
    aside = directory.with_name("aside")
    directory.rename(aside)
    directory.write_text("")
    try:
        yield
    finally:
        directory.unlink()
        aside.rename(directory)


@pytest.mark.parametrize("holders", ["ours", "looops"])
def test_only_looop_1_0_or_later_keeps_off_a_live_holder_while_sessions_cannot_be_listed(
    parties: tuple[Ours, Theirs], holders: str
) -> None:
    ours, theirs = parties
    holder = ours if holders == "ours" else theirs
    holder.start("holder")
    assert holder.claim(NAME, "holder") == WON
    with a_file_in_its_place(ours.data_dir / "sessions"):
        said = theirs.run("claim", NAME, "--session", "other")
        released = theirs.run("unclaim", NAME, "--session", "other")
        of_ours = ours.run("claim", NAME, "--session", "other")
    if theirs.rust.fails_closed:
        assert (said.code, said.err) == (1, f"claim {NAME}: held by live session 'holder'\n")
        assert released.code == 1
        assert "held by another live session" in released.err
        assert (of_ours.code, of_ours.out) == (3, "")
        assert ours.holder(NAME) == shown(ours.data_dir, NAME) == "holder"
        assert holder.unclaim(NAME, "holder") == RELEASED
    else:
        assert (said.code, said.out) == (0, f"claimed {NAME}\n"), "it is as good as 1.0: then say so in the documents"


def test_only_looop_1_0_or_later_refuses_whoever_has_no_session_id(parties: tuple[Ours, Theirs]) -> None:
    ours, theirs = parties
    told = [theirs.run("claim", NAME) for _ in range(2)]
    if theirs.rust.fails_closed:
        assert [each.code for each in told] == [1, 1]
        assert "no session id" in told[0].err
        assert (ours.holder(NAME), shown(ours.data_dir, NAME)) == ("", "")
    else:
        assert [each.code for each in told] == [0, 0], "it is as good as 1.0: then say so in the documents"


def test_ours_refuse_both(parties: tuple[Ours, Theirs]) -> None:
    ours, theirs = parties
    theirs.start("holder")
    assert theirs.claim(NAME, "holder") == WON
    with a_file_in_its_place(ours.data_dir / "sessions"):
        assert ours.run("claim", NAME, "--session", "other").code == 3
        assert ours.run("unclaim", NAME, "--session", "other").code == 3
    assert ours.run("claim", NAME).code == 2
    ours.start("other")
    assert (ours.claim(NAME, "other"), ours.unclaim(NAME, "other")) == (f"{HELD} by 'holder'", REFUSED)
