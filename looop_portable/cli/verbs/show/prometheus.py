"""The claims as metrics, in the text format that Prometheus' node exporter reads from files (its textfile collector).

Does not guarantee: a file that is whole. Whoever writes one writes it under another name first, and renames it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from looop_portable.cli.output import readable
from looop_portable.cli.output.ages import seconds_since
from looop_portable.cli.verbs.show.selecting import is_unreadable
from looop_portable.protocol.liveness import Liveness
from looop_portable.protocol.outcomes import Status

_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def exposition(found: Sequence[Status], unreadable: int) -> Iterator[str]:
    """The lines. Every count is there, also that of nothing."""
    read = [(status, _labels(status)) for status in found if status.lease and not is_unreadable(status)]
    yield from _head("looop_claims_held", "Claims that are held, by whether their holder is alive.")
    for liveness in Liveness:
        number = sum(bool(status.verdict and status.verdict.liveness is liveness) for status, _ in read)
        yield f'looop_claims_held{{liveness="{liveness.value}"}} {number}'
    yield from _head("looop_claims_unreadable", "Claims that cannot be read.")
    yield f"looop_claims_unreadable {unreadable}"
    if read:
        yield from _head("looop_claim_generation", "The generation that holds the claim.")
    for status, labels in read:
        yield f"looop_claim_generation{labels} {status.generation}"
    ages = [(labels, age) for status, labels in read if (age := _age_of(status)) is not None]
    if ages:
        yield from _head("looop_claim_age_seconds", "For how long the claim has been held, by the clocks of both hosts.")
    for labels, age in ages:
        yield f"looop_claim_age_seconds{labels} {age}"


def _head(metric: str, what: str) -> Iterator[str]:
    yield f"# HELP {metric} {what}"
    yield f"# TYPE {metric} gauge"


def _age_of(status: Status) -> int | None:
    return seconds_since(status.lease.claimed_at) if status.lease else None


def _labels(status: Status) -> str:
    lease, verdict = status.lease, status.verdict
    assert lease
    liveness = verdict.liveness.value if verdict else ""
    said = {"claim": status.name, "session": lease.session, "host": lease.host, "liveness": liveness}
    return "{" + ",".join(f'{label}="{readable(value).translate(_ESCAPES)}"' for label, value in said.items()) + "}"
