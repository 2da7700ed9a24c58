"""What a server sends as a value has the form of its type, or is no answer."""

from __future__ import annotations

import struct

import pytest

from looop_portable_postgres.wire import _DECODE

BIGINT, INTEGER, DOUBLE, RECORD = 20, 23, 701, 2249


@pytest.mark.parametrize(("kind", "raw"), [(BIGINT, b"\0" * 4), (INTEGER, b"\0" * 8), (DOUBLE, b"\x40\x09"), (DOUBLE, b"")])
def test_a_number_of_another_length_is_no_answer(kind: int, raw: bytes) -> None:
    with pytest.raises(ValueError, match="belong"):
        _DECODE[kind](raw)
    with pytest.raises(ValueError, match="belong"):
        _DECODE[RECORD](struct.pack(">iii", 1, kind, len(raw)) + raw)


def test_numbers_come_as_they_were_sent() -> None:
    row = struct.pack(">iiiqiiiiid", 3, BIGINT, 8, -(2**62), INTEGER, 4, -7, DOUBLE, 8, 0.1)
    assert _DECODE[RECORD](row) == (-(2**62), -7, 0.1)
