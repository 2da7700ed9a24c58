"""Records as bytes, without `json`: what is read and written is what `json` would read and write."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from looop_portable.protocol.codec import decode, encode, for_looop

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))
flat = st.none() | st.integers() | st.text()


def by_json(data: bytes) -> object:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


@settings(deadline=None)
@given(
    value=values,
    indent=st.none() | st.integers(0, 2),
    ascii_only=st.booleans(),
    around=st.sampled_from(["", " ", "\n", "x"]),
)
@example(value={"a": [1]}, indent=None, ascii_only=True, around="\ufeff")
def test_what_json_has_written_is_read_as_json_reads_it(
    value: object, indent: int | None, ascii_only: bool, around: str
) -> None:
    said = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    for encoding in ("utf-8", "utf-16", "utf-32-le"):
        data = f"{around}{said}{around}".encode(encoding, "surrogatepass")
        assert repr(decode(data)) == repr(by_json(data))


@settings(deadline=None)
@given(data=st.binary() | st.text(alphabet='{}[]":,1tn\\ ', max_size=12).map(str.encode))
@pytest.mark.filterwarnings("ignore")
def test_any_bytes_are_read_as_json_reads_them(data: bytes) -> None:
    assert repr(decode(data)) == repr(by_json(data))
    assert repr(decode(b'{"' + data + b"}\n")) == repr(by_json(b'{"' + data + b"}\n"))


@settings(deadline=None)
@given(record=st.dictionaries(st.text(), flat | st.booleans() | st.lists(flat, max_size=2), max_size=4))
def test_a_record_is_written_as_json_writes_it(record: dict[str, object]) -> None:
    assert encode(record) == json.dumps(record).encode() + b"\n"


@settings(deadline=None)
@given(record=st.dictionaries(st.text(), flat | st.lists(flat, min_size=1, max_size=3), min_size=1, max_size=4))
def test_what_looop_reads_is_written_as_json_writes_it_with_indents(record: dict[str, object]) -> None:
    assert for_looop(record) == json.dumps(record, indent=2).encode() + b"\n"


@pytest.mark.parametrize("shape", [('{"a": ', "}"), ("[", "]")], ids=["objects", "lists"])
@pytest.mark.parametrize("space", [b"", b" "], ids=["as ours", "otherwise"])
def test_what_can_only_just_be_read_is_no_record(shape: tuple[str, str], space: bytes) -> None:
    """At some depth Python reads it, and can neither show it nor write it again."""
    for depth in (*range(30, 1000, 7), 10_000):
        found = decode(space + f'{{"a": {shape[0] * depth}1{shape[1] * depth}}}'.encode())
        if found:
            assert depth < 500
            json.dumps(found)
            repr(found)
        else:
            assert depth > 29


def test_many_beside_each_other_are_not_deep() -> None:
    record = {"readers": [{"session": "s", "tags": ["[" * 9]}] * 500}
    assert decode(encode(record)) == record
