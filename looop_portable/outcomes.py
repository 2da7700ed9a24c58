"""What the verbs answer. Values, not exceptions: each of these is an expected result."""

from __future__ import annotations

from dataclasses import dataclass, field

from looop_portable.lease import Lease
from looop_portable.liveness import Verdict
from looop_portable.protocol import Standing


@dataclass(frozen=True, slots=True)
class Won:
    """The claim is ours from now on. `previous` is the lease that we took over, and `verdict` on what evidence."""

    lease: Lease
    previous: Lease | None = None
    verdict: Verdict | None = None

    @property
    def generation(self) -> int:
        return self.lease.generation


@dataclass(frozen=True, slots=True)
class Renewed:
    """The claim was ours already. Nothing was written."""

    lease: Lease

    @property
    def generation(self) -> int:
        return self.lease.generation


@dataclass(frozen=True, slots=True)
class Held:
    """Another session holds the claim, and lives, or nobody can tell that it does not."""

    lease: Lease
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Released:
    """The claim is free. `generation` is the one that says so; `previous` the lease that ended, if one did now."""

    name: str
    generation: int
    previous: Lease | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was released: another session holds the claim, or a newer generation than the one named does."""

    lease: Lease
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Checked:
    """Whether a generation is current and held. `head` is the claim's latest; `lease` the current one, if any."""

    name: str
    generation: int
    head: int
    lease: Lease | None

    @property
    def current(self) -> bool:
        return self.lease is not None and self.head == self.generation


@dataclass(frozen=True, slots=True)
class Broken:
    """A claim was released by an operator's word. `previous` is the lease that ended."""

    previous: Lease
    generation: int


@dataclass(frozen=True, slots=True)
class Superseded:
    """Nothing was broken: the generation named is not the one that holds the claim. `head` is."""

    name: str
    head: int
    lease: Lease | None


@dataclass(frozen=True, slots=True)
class Status:
    """One claim as `list` and `show` tell it. `verdict` is None when the claim is not held."""

    name: str
    generation: int
    lease: Lease | None
    verdict: Verdict | None
    standing: Standing


@dataclass(frozen=True, slots=True)
class Reaped:
    """A claim whose session is gone, released by the reaper. `generation` is the release; `lease` the one that ended."""

    lease: Lease
    verdict: Verdict
    generation: int


@dataclass(frozen=True, slots=True)
class Sweep:
    """What one sweep of the reaper did.

    `skipped` is the reason why nothing could be judged, or empty. `failed` holds (claim, reason) for claims that could
    not be read or released; the others were swept all the same.
    """

    reaped: list[Reaped] = field(default_factory=list)
    kept: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    skipped: str = ""
    dry_run: bool = False
