"""A fault that is planted, so that it is known that faults are found: not by chance, but by what an input reaches."""

from __future__ import annotations

from lanes.fuzzing.target import Target


class Planted(Exception):
    """What nobody of ours raises."""


def _planted(data: bytes) -> None:
    """Byte after byte: each is a branch that an input reaches, or does not."""
    if len(data) > 3 and data[0] == 0x7B and data[1] == 0x22 and data[2] == 0x70 and data[3] == 0x77:
        raise Planted


TARGETS = [Target("planted", _planted, (b'{"s": 1}',))]
