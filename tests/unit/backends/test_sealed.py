"""Of a backend that was opened by a URL no error has its password: not in its message, nor in any that is behind it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator

import pytest

from looop_portable import LooopError, Unavailable
from looop_portable.backends.memory import MemoryBackend
from looop_portable.backends.sealed import Sealed
from looop_portable.protocol.addresses import Address

URL = "fake://me:s3cret@host/0?prefix=ci"


class Odd(Exception):
    """What a client has of its own: its words are not made of its arguments, and it has the address in a field."""

    def __init__(self, url: str) -> None:
        super().__init__(7)
        self.url, self.parts = url, [url.encode(), {"password": "s3cret"}]

    def __str__(self) -> str:
        return f"no answer from {self.url}"


class Stubborn(Exception):
    def __str__(self) -> str:
        return f"no answer from {URL}"


ERRORS: dict[str, Callable[[], Exception]] = {
    "in its words": lambda: Unavailable(f"cannot reach {URL}", URL),
    "in an argument": lambda: ValueError(7, ("a", [URL]), {"url": URL}),
    "in bytes": lambda: ValueError(URL.encode()),
    "of the system": lambda: ConnectionRefusedError(111, f"refused by {URL}", URL),
    "in a field": lambda: Odd(URL),
    "whatever one does": Stubborn,
    "several": lambda: ExceptionGroup("of hosts", [ValueError(URL), Odd(URL)]),
}


class Fails(MemoryBackend):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def read(self, claim: str) -> object:  # type: ignore[override]
        raise self.error

    def tidy(self) -> list[tuple[str, str]]:
        return [("s3cret", f"not removed: {URL}")]

    def unavailable(self) -> str:
        return f"no answer from {URL}"

    def claims(self) -> Iterator[str]:
        yield "s3cret"
        try:
            raise Odd(URL)
        except Odd as error:
            error.add_note(f"it was {URL}")
            raise self.error from error


def said(error: BaseException) -> str:
    """All that anybody can print of an error."""
    fields = [repr(vars(each)) for each in (error, error.__cause__, error.__context__) if each]
    return "".join([*traceback.format_exception(error), str(error), repr(error), repr(error.args), *fields])


@pytest.mark.parametrize("which", ERRORS)
def test_no_error_has_the_password(which: str) -> None:
    error = ERRORS[which]()
    backend = Sealed(Fails(error), Address(URL))
    expected = Unavailable if which == "whatever one does" else type(error)
    with pytest.raises(expected) as found:
        backend.read("n")
    assert "s3cret" not in said(found.value)
    each = iter(backend.claims())
    assert next(each) == "s3cret"  # What is in the store is given as it is.
    with pytest.raises(expected) as found:
        next(each)
    assert "s3cret" not in said(found.value)


def test_an_error_that_is_behind_one_stays_where_it_tells_nothing() -> None:
    backend = Sealed(Fails(LooopError("no")), Address(URL))
    with pytest.raises(LooopError) as found:
        list(backend.claims())
    assert isinstance(found.value.__cause__, Odd)
    assert "no answer from fake://me:***@host/0?prefix=ci" in str(found.value.__cause__)


def test_an_error_of_the_system_keeps_its_number_and_shows_no_name_that_it_has_not() -> None:
    backend = Sealed(Fails(FileNotFoundError(2, "not there")), Address(URL))
    with pytest.raises(FileNotFoundError) as found:
        backend.read("n")
    assert str(found.value) == "[Errno 2] not there"
    assert found.value.errno == 2


def test_what_is_told_of_is_told_without_it_and_what_is_stored_is_as_it_is() -> None:
    backend = Sealed(Fails(Unavailable("no")), Address(URL))
    assert backend.unavailable() == "no answer from fake://me:***@host/0?prefix=ci"
    assert backend.tidy() == [("s3cret", "not removed: fake://me:***@host/0?prefix=ci")]
    assert backend.sessions.read("w1").generation == 0
    assert backend.sessions.signs.lock_path(None) == ""
    assert backend.name == "memory"
    assert "s3cret" not in repr(backend)
