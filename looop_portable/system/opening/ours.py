"""The names of the files that we make, and by which alone we remove: each pattern is that of a whole name.

Guarantees: nothing is swept whose name is not exactly one that this package, in this version or an earlier one, makes in
that kind of directory. Without this, whoever keeps `.env` in a directory that we take for ours would lose it.
Does not guarantee: that what has such a name is ours. So they are looked for in directories of ours alone.
"""

from __future__ import annotations

import re

NONCE = r"[0-9a-f]{16}(?:[0-9a-f]{8})?"
"""See `nonces`; up to 0.1 they were shorter."""
_NUMBER = r"[1-9][0-9]{0,15}"

GENERATION = re.compile(_NUMBER)
RECORD = re.compile(rf"\.{_NUMBER}-{NONCE}(?:-[0-9]+)?")
"""A generation that has no number yet, or a projection that has no name yet."""
STAMP = re.compile(rf"\.stamp-{NONCE}(?:-[12])?")
DIRECTORY = re.compile(rf"\.dir-{NONCE}")
END = re.compile(rf"\.end-{NONCE}")
GUARD = re.compile(rf"\.guard-{NONCE}")
PROBE = re.compile(r"\.age-[0-9a-f]{16}")
PRIVATE_TICKET = re.compile(rf"\.[0-9]{{12}}-{NONCE}")
SIGN = re.compile(rf"(?:heartbeat|lock)-(?P<incarnation>{NONCE})|sighting-(?P<seen>{NONCE})-[0-9]+")
PRIVATE_SIGN = re.compile(rf"\.(?:sighting|meta\.json|status\.json)-{NONCE}")
PROJECTION = re.compile(r"meta\.json|status\.json")
KEEPER = re.compile(rf"[^.].*-{NONCE}\.(?:json|log|log\.1|lock)", re.DOTALL)
WORD = re.compile(rf"\.{NONCE}(?:-written)?")
"""What a keeper, or whoever looks for a place for one, is about to name."""


def those(names: list[str], *kinds: re.Pattern[str]) -> list[str]:
    """Those of `names` that are of one of these kinds."""
    return [name for name in names if any(kind.fullmatch(name) for kind in kinds)]
