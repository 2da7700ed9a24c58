"""An error keeps what it says, and its fields, on its way to another process."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator

import pytest

from looop_portable import errors
from looop_portable.errors import (
    ClaimHeld,
    Interrupted,
    LooopError,
    NotEnded,
    SessionAlive,
    Settling,
    Unavailable,
    WaitCancelled,
    WaitedTooLong,
)

WAYS: list[Callable[[BaseException], BaseException]] = [
    copy.copy,
    copy.deepcopy,
    *((lambda error, n=number: pickle.loads(pickle.dumps(error, n))) for number in range(pickle.HIGHEST_PROTOCOL + 1)),
]


class OfAPlugIn(ClaimHeld):
    """Whose constructor takes what ours do not."""

    def __init__(self, *, region: str) -> None:
        super().__init__("n", "s", "e")
        self.region = region


def kinds(kind: type[LooopError] = LooopError) -> Iterator[type[LooopError]]:
    yield kind
    for each in kind.__subclasses__():
        if each.__module__ == errors.__name__:
            yield from kinds(each)


SPECIAL: list[BaseException] = [
    Unavailable("no answer", "/some/path"),
    NotEnded("not ended", (("a", "denied"), ("b", "gone"))),
    SessionAlive("s", "its process runs"),
    Settling("it was restarted", 3.5),
    ClaimHeld("n", "s", "its process runs"),
    WaitedTooLong("n", "s", "its process runs", 1.5),
    WaitCancelled("n", "s", "its process runs"),
    WaitCancelled("n", "", "others are before this one in line"),
    OfAPlugIn(region="eu"),
    Interrupted(15),
]
PLAIN = [kind("a message") for kind in kinds() if kind not in {type(error) for error in SPECIAL}]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("error", [*SPECIAL, *PLAIN], ids=lambda error: type(error).__name__)
def test_an_error_arrives_with_its_message_and_its_fields(
    error: BaseException, way: Callable[[BaseException], BaseException]
) -> None:
    error.add_note("a note of the caller")
    arrived = way(error)
    assert type(arrived) is type(error)
    assert str(arrived) == str(error)
    assert arrived.args == error.args
    assert vars(arrived) == vars(error)
