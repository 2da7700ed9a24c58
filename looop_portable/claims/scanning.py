"""All claims that are held, each with its head read once (`Backend.survey`), judged together.

Does not guarantee: that a head is still the latest when the next one is read. Who acts upon one reads it again.
"""

from __future__ import annotations

from looop_portable.backends.base import HolderSigns
from looop_portable.protocol.liveness import Verdict
from looop_portable.protocol.records import Head, Holder
from looop_portable.sessions.registrar import Sessions

Surveyed = tuple[str, Head | None, HolderSigns | None]


def each_judged(found: list[Surveyed], sessions: Sessions) -> dict[Holder, Verdict]:
    """On each session that is named by one of those leases, once. All of them have been read: see `Evidence.verdict`.

    For telling people. Who acts upon it judges anew where a lease names but an id: that may be a later session's soon.
    """
    leases = [lease for _, head, _ in found if head for lease in (head.lease, head.over) if lease and lease.session]
    seen = {signs.holder: signs for _, _, signs in found if signs}
    holders = dict.fromkeys(Holder(*lease[1:3]) for lease in leases)
    return {holder: sessions.verdict(*holder, seen=seen.get(holder)) for holder in holders}
