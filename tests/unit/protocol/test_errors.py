"""What an error of the system tells people to do: on Windows, by Windows' own means."""

from __future__ import annotations

import errno

import pytest

from looop_portable.errors import Unavailable, answering, describe_error, unavailable, unreadable


class OfWindows(OSError):
    """As Windows raises it, on any system."""

    def __init__(self, number: int, winerror: int | None) -> None:
        super().__init__(number, "Access is denied", "C:/ProgramData/looop/claims")
        self.winerror = winerror


@pytest.mark.parametrize(("number", "winerror"), [(errno.EACCES, 5), (errno.EACCES, None), (errno.EPERM, None)])
def test_a_denial_on_windows_names_icacls_and_not_chmod(number: int, winerror: int | None) -> None:
    said = describe_error(OfWindows(number, winerror))
    assert said.startswith("Access is denied: C:/ProgramData/looop/claims (")
    assert 'icacls DIRECTORY /grant "*S-1-5-32-545:(OI)(CI)M" /T' in said
    assert "chmod" not in said
    assert str(unreadable(OfWindows(number, winerror), "n")) == f"claim n: {said}"


@pytest.mark.parametrize("winerror", [32, 33])
def test_what_is_in_use_on_windows_is_no_matter_of_rights(winerror: int) -> None:
    said = describe_error(OfWindows(errno.EACCES, winerror))
    assert "close the program that has it open" in said
    assert "chmod" not in said
    assert "icacls" not in said


@pytest.mark.parametrize(("number", "winerror"), [(errno.ENOSPC, 112), (errno.ENOENT, 53), (errno.EACCES, 19)])
def test_another_place_is_named_where_windows_has_none_here(number: int, winerror: int) -> None:
    assert "--data-dir or LOOOP_DATA_DIR" in describe_error(OfWindows(number, winerror))


def test_a_denial_elsewhere_names_chmod() -> None:
    error = OSError(errno.EACCES, "Permission denied", "/x")
    said = describe_error(error)
    assert ("chmod 2775" in said) != hasattr(error, "winerror")


def test_what_fails_at_the_edge_says_of_what_it_is_why_where_and_what_to_do() -> None:
    error = OSError(errno.ENOSPC, "No space left on device", "/d/.ledger/n/1")
    with pytest.raises(Unavailable) as raised, answering("session s"):
        raise error
    remedy = "make room, or choose another place with --data-dir or LOOOP_DATA_DIR"
    assert str(raised.value) == f"session s: No space left on device: /d/.ledger/n/1 ({remedy})"
    assert raised.value.path == "/d/.ledger/n/1"
    assert raised.value.__cause__ is error
    assert str(unavailable(error)) == str(raised.value).removeprefix("session s: ")


@pytest.mark.parametrize("error", [Unavailable("no answer", "/d"), KeyboardInterrupt(), ValueError("x")])
def test_what_is_no_error_of_a_file_passes_the_edge_as_it_is(error: BaseException) -> None:
    with pytest.raises(type(error)) as raised, answering("session s"):
        raise error
    assert raised.value is error
