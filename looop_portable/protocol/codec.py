"""How a record looks as bytes: one JSON object. What is in one is in `records`.

Guarantees: any bytes decode to something, never to an exception. Nothing is encoded that would be too large to be read.
What becomes a path, a process id or a time is checked when it is decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from looop_portable.errors import InvalidName
from looop_portable.typed import Any, cast

LARGEST = 1 << 20
"""Bytes of a record. Whoever reads takes a larger file for no record (`files_open.read`), so it must not be written."""


LONGEST_TEXT = 1000
"""Characters of a text in a record that says where something is, or what a kernel calls itself."""


LONGEST_WORD = 100

_DEEPEST, _SHALLOW = 32, 1000
"""Lists and objects in each other, of which what has so few bytes cannot have too many for Python."""


_WORD = frozenset("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._~-")


class _AsJson:
    """What `json.JSONDecoder` tells the scanner that it has. `json` itself makes patterns that no record of ours needs."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float, parse_int = float, int
    parse_constant = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}.__getitem__


_SPACE = " \t\n\r"
_decode: Callable[[str, int], tuple[Any, int]]
try:
    from _json import encode_basestring_ascii as _quoted
    from _json import make_scanner

    _decode = make_scanner(cast("make_scanner", _AsJson))
except ImportError:  # Another Python than CPython.
    from json import JSONDecoder
    from json.encoder import encode_basestring_ascii as _quoted

    _decode = JSONDecoder().raw_decode


def encode(record: Mapping[str, object]) -> bytes:
    """One JSON object and a newline, which is the only one in it. Raises `InvalidName` if nobody could read it.

    A record that no reader accepts would make a claim with two live holders.
    """
    fields = []
    for key, value in record.items():  # Strings, integers and truths, in half the encoder's time.
        if type(value) is str:
            fields.append(f"{_quoted(key)}: {_quoted(value)}")
        elif type(value) is int:
            fields.append(f"{_quoted(key)}: {value}")
        elif type(value) is bool:
            fields.append(f"{_quoted(key)}: {'true' if value else 'false'}")
        elif value is None:
            fields.append(f"{_quoted(key)}: null")
        else:
            import json

            data = json.dumps(record, check_circular=False).encode() + b"\n"
            break
    else:
        data = f"{{{', '.join(fields)}}}\n".encode()
    if len(data) > LARGEST:
        raise InvalidName(
            f"a record of {len(data)} bytes could not be read: it may have {LARGEST}, so a name or an id in it is too long"
        )
    return data


def for_looop(record: Mapping[str, object]) -> bytes:
    """One JSON object as looop writes it, and people read it: a line for each field. Its values are not nested twice."""
    lines = [f"  {_quoted(key)}: {_shown(value)}" for key, value in record.items()]
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def _shown(value: object) -> str:
    if isinstance(value, list):
        return "[\n" + ",\n".join(f"    {_shown(each)}" for each in value) + "\n  ]"
    return _quoted(value) if isinstance(value, str) else "null" if value is None else str(int(cast("int", value)))


def whole(data: bytes) -> bool:
    """Whether a record has been written to its end, which is the only newline in it."""
    return data.endswith(b"}\n")


def decode(data: bytes) -> dict[str, object]:
    """The JSON object in `data`; an empty one if there is none."""
    if not data:
        return {}
    try:
        line = data.decode()
        found, end = _decode(line, 0)
        if end == len(line) - 1 or not line[end:].strip(_SPACE):
            return found if isinstance(found, dict) and not (len(data) > _SHALLOW and _is_deep(found)) else {}
    except RecursionError:
        return {}
    except (ValueError, StopIteration):
        return _decode_otherwise(data)
    return {}


def _decode_otherwise(data: bytes) -> dict[str, object]:
    """What begins with a space, or is in no UTF-8, is JSON to others."""
    import json

    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and not _is_deep(found) else {}


def _is_deep(found: dict[str, object]) -> bool:
    """Whether nobody of ours has written it. What can only just be read could not be shown, or written again."""
    level: list[object] = [found]
    for _ in range(_DEEPEST):
        inner = [each.values() if isinstance(each, dict) else each for each in level if isinstance(each, dict | list)]
        level = [value for values in inner for value in values]
        if not level:
            return False
    return True


def text(record: Mapping[str, object], key: str) -> str:
    """The string at `key`; empty if there is none, or one that is no Unicode."""
    value = record.get(key)
    if not isinstance(value, str):
        return ""
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return ""
    return value


def text_to_be(data: bytes, key: str) -> str:
    """The string at `key` of a record that is about to be published: `encode` has made it, as a rule, so it is not decoded.

    Within a text of such data no quotation mark is without a backslash. So what looks like the field is the field.
    """
    field = f'"{key}"'.encode()
    _, mark, rest = data.partition(b" " + field + b': "')
    found = rest.partition(b'"')[0]
    is_plain = data.count(b"{") == 1 and data[:1] == b"{" and data[-2:] == b"}\n" and data.isascii()
    if mark and is_plain and b"\\" not in found and field not in rest:
        return found.decode()
    return text(decode(data), key) if field in data or b"\\" in data else ""


def number(record: Mapping[str, object], key: str, most: int = 2**63 - 1) -> int:
    """The integer at `key`, from 1 to `most`; 0 if there is none."""
    value = record.get(key)
    return value if type(value) is int and 0 < value <= most else 0


class Damaged(ValueError):
    """A field of a record is what nobody of ours has written there."""


def checked_text(record: Mapping[str, object], key: str) -> str:
    """The string at `key`; empty if there is none. Raises `Damaged` for anything else, and for what no system says."""
    found = text(record, key)
    if found != record.get(key, "") or len(found) > LONGEST_TEXT or has_controls(found):
        raise Damaged(key)
    return found


def checked_word(record: Mapping[str, object], key: str) -> str:
    """A nonce, which becomes a part of a path. Raises `Damaged` for what could lead elsewhere."""
    found = checked_text(record, key)
    if not is_word(found):
        raise Damaged(key)
    return found


def checked_number(record: Mapping[str, object], key: str, most: int) -> int:
    """The integer at `key`, from 0 to `most`; 0 if there is none. Raises `Damaged` for anything else."""
    found = record.get(key, 0)
    if type(found) is not int or not 0 <= found <= most:
        raise Damaged(key)
    return found


def is_word(value: str) -> bool:
    """Whether it is what nonces are made of; or nothing."""
    return len(value) <= LONGEST_WORD and value[:1] != "." and _WORD.issuperset(value)


def has_controls(value: str) -> bool:
    return not value.isprintable() and any(letter < " " or letter == "\x7f" for letter in value)
