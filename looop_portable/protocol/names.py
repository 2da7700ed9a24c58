"""Claim names and session ids: what may be one, and how each is spelled as a file name.

Guarantees: a name never leaves its directory; two different names never share a file name; one name has the same file
name on every platform.
Does not guarantee: that names which differ only in case are different claims. Where the directory does not tell case
apart they are one.
How: a name is taken in Unicode normal form C. It is its own file name unless some platform could not store it; then the
offending characters are written as `%XX` (two upper-case hexadecimal digits each). A name whose spelling is longer than
139 bytes, or is not in that form any more, becomes its beginning, `%~`, and half a SHA-256: eCryptfs stores 143 bytes.
Compatibility: a name that looop accepts and every platform can store is spelled as looop spells it. Up to 0.1 longer
spellings were usual: `spellings` has both, and `spelling` says which of them a directory uses.
"""

from __future__ import annotations

import functools

from looop_portable.errors import InvalidName

LONGEST = 139
"""The longest spelling, in bytes of UTF-8. File names end at 143 on eCryptfs, at 175 on encfs, at 255 elsewhere."""

LONGEST_NAME = 1000
"""The longest claim name, session id or note, in characters. A record has to be read as a whole wherever it is needed."""

ONCE_LONGEST = 1 << 20
"""Up to 0.1 there was no such limit: what stands in a record may be longer."""

_SHOWN = 60
"""So many characters of what is no name are shown: a message is one line."""

_BEGINNING, _HASH = 104, 32  # With `.json` behind them they are 143.
_LONGEST_ONCE, _BEGINNING_ONCE = 200, 120
_ESCAPED = frozenset('<>:"|?*\x7f') | {chr(code) for code in range(32)}
_HEXADECIMAL = frozenset("0123456789ABCDEFabcdef")
_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", "conin$", "conout$"]
    + [f"{port}{digit}" for port in ("com", "lpt") for digit in "0123456789\u00b9\u00b2\u00b3"]
)


def canonical(name: str, what: str = "claim name", longest: int = LONGEST_NAME) -> str:
    """The one form of `name` that is stored, compared and printed. Raises `InvalidName`."""
    if not isinstance(name, str):
        raise InvalidName(f"invalid {what} {excerpt(name)}: it is not a string")
    if not name:
        raise InvalidName(f"invalid {what}: it is empty")
    if len(name) > longest:
        refuse_longer(name, what, longest)
    if name.startswith("."):
        raise InvalidName(f"invalid {what} {excerpt(name)}: it begins with a dot")
    if "/" in name or "\\" in name:
        raise InvalidName(f"invalid {what} {excerpt(name)}: it contains a slash or a backslash: write - instead")
    if name.isascii():
        return name
    try:
        name.encode()
    except UnicodeEncodeError:
        name = _decoded(name, what)
    name = _composed(name)
    refuse_longer(name, what, longest)  # Some letters are several in that form.
    return name


def refuse_longer(text: str, what: str, longest: int = LONGEST_NAME) -> None:
    """Raises `InvalidName` for what would make a record that is too large to be read."""
    if len(text) > longest:
        raise InvalidName(f"invalid {what} {excerpt(text)}: it has {len(text)} characters, and may have {longest}")


def as_note(note: str) -> str:
    """The note on a claim as it is stored: any text, for people; empty: there is none. Raises `InvalidName`."""
    if not isinstance(note, str):
        raise InvalidName(f"invalid note {excerpt(note)}: it is not a string")
    refuse_longer(note, "note")
    if note.isascii():
        return note
    try:
        note.encode()
    except UnicodeEncodeError:
        return _decoded(note, "note")
    return note


def excerpt(value: object) -> str:
    """`value` as it is written in Python; of a long one the beginning."""
    if isinstance(value, str | bytes) and len(value) > _SHOWN:
        return f"{value[:_SHOWN]!r}..."
    try:
        found = repr(value)
    except ValueError:  # A number that has more digits than Python writes.
        found = f"a huge {type(value).__name__}"
    return found if len(found) <= 2 * _SHOWN else f"{found[: 2 * _SHOWN]}..."


def _decoded(name: str, what: str) -> str:
    """A name in UTF-8 that came by an argument or the environment where the locale knows of none: see `locales`."""
    try:
        return name.encode("utf-8", "surrogateescape").decode()
    except UnicodeError:
        raise InvalidName(f"invalid {what} {excerpt(name)}: it is not valid Unicode") from None


def spelled(name: str) -> str:
    """The file name of a canonical name that is new in its directory."""
    return spellings(name)[0]


@functools.lru_cache(maxsize=1024)
def spellings(name: str) -> tuple[str, str]:
    """The file name of a canonical name, and the one that it once had, if that was another: else empty."""
    text = "".join(f"%{ord(letter):02X}" if _is_escaped(name, at) else letter for at, letter in enumerate(name))
    if name.partition(".")[0].rstrip(" ").lower() in _DEVICES:
        # Without this, a claim named `con` would be the console of a Windows host.
        text = f"%{ord(name[0]):02X}{text[1:]}"
    size, whole = len(text.encode()), text.isascii() or _composed(text) == text
    if whole and size <= LONGEST:
        return text, ""
    now, once = cut(name, text), text if whole and size <= _LONGEST_ONCE else cut(name, text, _BEGINNING_ONCE)
    return now, "" if now == once else once


def cut(name: str, text: str, size: int = _BEGINNING) -> str:
    """The file name of a name that has no other: the beginning of `text`, of `size` bytes, and a hash of `name`."""
    import hashlib

    beginning = _composed(text.encode()[:size].decode(errors="ignore"))
    return f"{beginning}%~{hashlib.sha256(name.encode()).hexdigest()[:_HASH]}"


def looks_cut(text: str) -> bool:
    """Whether `text` could be the file name of a longer name."""
    return text[-_HASH - 2 : -_HASH] == "%~"


def unspelled(file_name: str, *, once: bool = False) -> str | None:
    """The name that is spelled `file_name`; None where the spelling does not tell it (too long), or is nobody's.

    `once`: also the one that was spelled so.
    """
    if "%~" in file_name:
        return None
    first, *rest = file_name.split("%")
    name = first
    for part in rest:
        code, after = part[:2], part[2:]
        name += chr(int(code, 16)) + after if len(code) == 2 and _HEXADECIMAL.issuperset(code) else f"%{part}"
    try:
        return name if file_name in spellings(canonical(name))[: 1 + once] else None
    except InvalidName:
        return None


def printable(text: str) -> str:
    """`text` with control characters and lone surrogates spelled out: a claim's name may hold an escape sequence."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def _composed(text: str) -> str:
    """The normal form. Two names whose escapes swallow a combining mark would be one file where names are normalised."""
    import unicodedata  # Only names beyond ASCII pay for the tables.

    return unicodedata.normalize("NFC", text)


def _is_escaped(name: str, at: int) -> bool:
    letter = name[at]
    if letter in _ESCAPED:
        return True
    if letter in ". ":
        return at == len(name) - 1
    if letter == "%":  # Only where it would be taken for an escape of ours.
        return name[at + 1 : at + 2] == "~" or (len(name) > at + 2 and _HEXADECIMAL.issuperset(name[at + 1 : at + 3]))
    return False
