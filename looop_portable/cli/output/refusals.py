"""How a refusal is told: who holds the claim, on what evidence, and the way out."""

from __future__ import annotations

from looop_portable.cli.output import Fields, Output, lease_fields, until, verdict_fields
from looop_portable.protocol.liveness import Liveness, Verdict
from looop_portable.protocol.records import Lease


def refuse(
    out: Output, verb: str, because: str, lease: Lease, verdict: Verdict, more: Fields, *, late: bool = False
) -> None:
    """`late`: it was still so when the time for waiting was over."""
    outcome = "timeout" if late else "refused" if verb in ("unclaim", "transfer") else "held"
    out.refusal(
        verb,
        outcome,
        f"{verb} {lease.name}: {because} '{lease.session}'",
        {"name": lease.name, "generation": lease.generation, **lease_fields(lease), **more, **verdict_fields(verdict)},
    )
    waited = "; waited in vain" if late else ""
    over = f", until {until(verdict)} unless it is renewed" if verdict.left is not None else ""
    out.hint(f"  generation {lease.generation}: {verdict.description}{over}{waited}{_way_out(lease, verdict)}")


def _way_out(lease: Lease, verdict: Verdict) -> str:
    if verdict.liveness is not Liveness.UNKNOWN:
        return ""
    return f"; if it is gone for good: looop break {lease.name} --generation {lease.generation} --reason TEXT"
