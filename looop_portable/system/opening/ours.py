"""The names of the files that we make, and by which alone we remove: each pattern is that of a whole name.

Guarantees: nothing is swept whose name is not exactly one that this package, in this version or an earlier one, makes in
that kind of directory. Without this, whoever keeps `.env` in a directory that we take for ours would lose it.
Does not guarantee: that what has such a name is ours. So they are looked for in directories of ours alone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from looop_portable.typed import TYPE_CHECKING

if TYPE_CHECKING:
    import re

NONCE = r"[0-9a-f]{16}(?:[0-9a-f]{8})?"
"""See `nonces`; up to 0.1 they were shorter."""
LONGEST_NUMBER = 16
"""Digits of a generation."""
_HEXADECIMAL = frozenset("0123456789abcdef")
_NUMBER = rf"[1-9][0-9]{{0,{LONGEST_NUMBER - 1}}}"

GENERATION = _NUMBER
RECORD = rf"\.{_NUMBER}-{NONCE}(?:-[0-9]+)?"
"""A generation that has no number yet, or a projection that has no name yet."""
STAMP = rf"\.stamp-{NONCE}(?:-[12])?"
DIRECTORY = rf"\.dir-{NONCE}"
END = rf"\.end-{NONCE}"
STAGED = rf"[0-9]+-{NONCE}"
GUARD = rf"\.guard-{NONCE}"
PROBE = r"\.age-[0-9a-f]{16}"
PRIVATE_TICKET = rf"\.[0-9]{{12}}-{NONCE}"
PRIVATE_SIGN = rf"\.(?:sighting|meta\.json|status\.json)-{NONCE}"
KEEPER = rf"(?s:[^.].*-{NONCE}\.(?:json|log|log\.1|lock))"
WORD = rf"\.{NONCE}(?:-written)?"
"""What a keeper, or whoever looks for a place for one, is about to name."""


def SIGN(name: str) -> bool:  # noqa: N802 (a kind, as the others are)
    """A heartbeat or a lock of an incarnation, or when another has seen one of its heartbeats."""
    kind, _, rest = name.partition("-")
    if kind == "sighting":
        rest, _, number = rest.partition("-")
        return is_nonce(rest) and number.isascii() and number.isdigit()
    return kind in ("heartbeat", "lock") and is_nonce(rest)


def PROJECTION(name: str) -> bool:  # noqa: N802
    """What looop reads of a session."""
    return name in ("meta.json", "status.json")


def is_nonce(word: str) -> bool:
    """As `NONCE` has it."""
    return len(word) in (16, 24) and _HEXADECIMAL.issuperset(word)


def those(names: list[str], *kinds: str | Callable[[str], object]) -> list[str]:
    """Those of `names` that are of one of these kinds. What each start meets has no pattern: compiling takes long."""
    hidden = any(name.startswith(".") for name in names)  # Where nothing is, nothing is compiled for it.
    some = [kind for kind in kinds if callable(kind) or hidden or not kind.startswith(r"\.")] if names else []
    tests = [kind if callable(kind) else compiled(kind).fullmatch for kind in some]
    return [name for name in names if any(test(name) for test in tests)]


@functools.cache
def compiled(kind: str) -> re.Pattern[str]:
    """Not before it is needed: each start would pay for all of them."""
    import re

    return re.compile(kind)
