"""How a key is spelled as the name of an object: such that S3, Google Cloud Storage, Azure and servers on files take it.

Guarantees: two keys never have one name, on any version of Python. No name is the directory of another. A key of 400 bytes
has a name of at most 820. A name ends neither in `.` nor in `/`.
How: letters and digits of ASCII, `-`, `_`, and what is beyond ASCII, stand for themselves. Anything else is `=` and a mark.
What is longer than 200 bytes is cut into pieces, as file names end at 255; each but the last ends in `=+`.
"""

from __future__ import annotations

import re

__all__ = ["key_in", "spelled"]

_MARK_OF = dict(zip("/. %~:@+,=!\"#$&'()*;<>?[\\]^`{|}", "sdbptcalkefghijmnoqruvwxyz12345", strict=True))
_CHARACTER_OF = {mark: character for character, mark in _MARK_OF.items()}
_CODE = re.compile("[0-9A-F]{1,4}")
_LONGEST = 200
_CUT = "=+/"


def spelled(key: str) -> str:
    pieces, size = [""], 0
    for character in key:
        piece = _piece(character)
        size += len(piece.encode())
        if size > _LONGEST:
            pieces.append("")
            size = len(piece.encode())
        pieces[-1] += piece
    return _CUT.join(pieces)


def key_in(name: str) -> str | None:
    """The key that is spelled `name`; None if that is nobody's spelling."""
    first, *rest = name.replace(_CUT, "").split("=")
    key = first
    for part in rest:
        if part[:1] == "U":  # What XML has no word for.
            code, _, after = part[1:].partition("_")
            key += (chr(int(code, 16)) if _CODE.fullmatch(code) else "") + after
        else:
            key += _CHARACTER_OF.get(part[:1], "") + part[1:]
    return key if spelled(key) == name else None


def _piece(character: str) -> str:
    if character in _MARK_OF:
        return f"={_MARK_OF[character]}"
    if 0x7F <= ord(character) < 0xA0 or character in "\ufffe\uffff" or character < " ":
        return f"=U{ord(character):X}_"
    return character
