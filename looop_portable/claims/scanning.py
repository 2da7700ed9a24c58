"""All claims that are held, each with its head read once (`Backend.scan`), judged together.

Does not guarantee: that a head is still the latest when the next one is read. Who acts upon one reads it again.
"""

from __future__ import annotations

from collections.abc import Callable

from looop_portable.backends.base import Found
from looop_portable.protocol.liveness import Verdict
from looop_portable.protocol.records import Holder


def each_judged(found: list[Found], judge: Callable[[str, str], Verdict]) -> dict[Holder, Verdict]:
    """On each session that is named by one of those leases, once. All of them have been read: see `Evidence.verdict`.

    For telling people. Who acts upon it judges anew where a lease names but an id: that may be a later session's soon.
    """
    leases = [lease for _, head in found if head for lease in (head.lease, head.over) if lease and lease.session]
    return {holder: judge(*holder) for holder in dict.fromkeys(Holder(*lease[1:3]) for lease in leases)}
