"""A claim as a row of the table, and as fields of JSON."""

from __future__ import annotations

from collections.abc import Sequence

from looop_portable.cli.output import lease_fields, verdict_fields
from looop_portable.cli.output.ages import age
from looop_portable.protocol.outcomes import Status

COLUMNS = ("NAME", "SESSION", "GENERATION", "AGE", "LIVENESS", "NOTE", "EVIDENCE")
_NOTE = COLUMNS.index("NOTE")

Row = tuple[str, ...]


def row_of(status: Status) -> Row:
    """Of a claim that is held."""
    assert status.lease
    assert status.verdict
    lease, verdict = status.lease, status.verdict
    others = len(lease.readers) - 1
    whose = f"{lease.session} +{others}" if others > 0 else lease.session or "-"
    told = status.name, whose, str(status.generation), age(lease.claimed_at), verdict.liveness.value
    return (*told, lease.note, verdict.description)


def has_notes(rows: Sequence[Row]) -> bool:
    return any(row[_NOTE] for row in rows)


def without_notes(rows: Sequence[Row]) -> list[Row]:
    """Rows, or the columns."""
    return [(*row[:_NOTE], *row[_NOTE + 1 :]) for row in rows]


def fields_of(status: Status) -> dict[str, object]:
    """What --json says of a claim."""
    return {
        "name": status.name,
        "generation": status.generation,
        **lease_fields(status.lease),
        **verdict_fields(status.verdict),
    }
