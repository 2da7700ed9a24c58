"""From what was found to what to do: which backend, and why, in one line. Pure.

Guarantees: a backend is recommended only if it was raced, was used, and let nobody in beside another; an overlap anywhere
outweighs all else, as then either the filesystem or this package does not do what it must.
Does not guarantee: anything about other hosts, unless several have raced (`Across`).
"""

from __future__ import annotations

from enum import Enum

from looop_portable.doctor.findings import Across, Filesystem, Findings, Race, Stamped
from looop_portable.doctor.notes import notes
from looop_portable.typed import NamedTuple

AUTO, POSIX, WINDOWS, ADVISORY = "auto", "posix", "windows", "advisory"
FLOCK = "flock"


class Outcome(Enum):
    """What the doctor's answer is."""

    USE = "use"
    NONE = "none"
    UNANSWERED = "unanswered"


class Advice(NamedTuple):
    """`backend` is the one that is recommended, empty if none is; `by_auto`: `auto` chooses it here.

    `objections` are the backends that are not, each with its reason; `contradictions`: what the directory's stamp says
    and is not so.
    """

    outcome: Outcome
    backend: str
    by_auto: bool
    verdict: str
    objections: tuple[tuple[str, str], ...]
    contradictions: tuple[str, ...]
    notes: tuple[str, ...]


class Objection(NamedTuple):
    """Why a backend is not recommended."""

    reason: str
    outcome: Outcome = Outcome.NONE


def candidates(asked: str, windows: bool) -> tuple[str, ...]:
    """The backends to race, in the order in which `auto` would rather have them."""
    if asked != AUTO:
        return (asked,)
    return (WINDOWS,) if windows else (POSIX, ADVISORY)


def advise(found: Findings) -> Advice:
    """The answer."""
    objections = {race.backend: _objection(race, found) for race in found.races}
    text = tuple((backend, objection.reason) for backend, objection in objections.items() if objection)
    contradictions = _contradictions(found)
    overlap = next((race for race in found.races if race.overlaps or race.repeats), None)
    backend = next((race.backend for race in found.races if not objections[race.backend]), "")
    across = _objection_across(found.across) if found.across else None
    by_auto = found.asked == AUTO and backend == _autos_choice(found)
    if overlap:
        outcome, line = Outcome.NONE, f"do not use {found.directory}: {_seen(overlap)} with the backend {overlap.backend}"
    elif across and across.outcome is Outcome.NONE:
        outcome, line = Outcome.NONE, f"do not use {found.directory} from several hosts: {across.reason}"
    elif contradictions:
        outcome, line = Outcome.NONE, f"do not use {found.directory}: {contradictions[0]}"
    elif not backend:
        outcome, line = _none(found, [objection for objection in objections.values() if objection])
    elif across:
        outcome, line = Outcome.UNANSWERED, f"no answer about several hosts: {across.reason}"
    else:
        use = f"use auto ({backend})" if by_auto else f"use --backend {backend}"
        outcome, line = Outcome.USE, f"{use}: {_why(backend, found)}; {_counts(found, backend)}"
    used = backend if outcome is Outcome.USE else ""
    return Advice(outcome, used, bool(used) and by_auto, f"verdict: {line}", text, contradictions, notes(found))


def _objection(race: Race, found: Findings) -> Objection | None:
    refused = _refused_by_stamp(race.backend, found.stamp) or _refused_by_mount(race.backend, found)
    return objection(race if race.refused else race._replace(refused=refused))


def objection(race: Race) -> Objection | None:
    """What the race itself says against its backend."""
    if race.overlaps or race.repeats:
        return Objection(_seen(race))
    if race.refused:
        return Objection(race.refused)
    if race.failures:
        return Objection(race.failures[0], Outcome.UNANSWERED)
    if not race.acquisitions:
        return Objection(f"nobody got a claim within {race.seconds:g} s", Outcome.UNANSWERED)
    return None


def _refused_by_stamp(backend: str, stamp: Stamped | None) -> str:
    """Why a backend would refuse this very directory, whatever the filesystem can do: see `stamp`."""
    if stamp is None or stamp.unreadable:
        return ""
    if backend == POSIX and not stamp.links:
        return "the stamp of this directory says that it is used without hard links"
    if backend == ADVISORY and not stamp.guard:
        return "the stamp of this directory says that it is used without a guard"
    return ""


def _refused_by_mount(backend: str, found: Findings) -> str:
    return _local(found.filesystem) if backend == ADVISORY and found.filesystem.local_guard else ""


def _objection_across(across: Across) -> Objection | None:
    if across.overlaps or across.repeats:
        return Objection(f"{_seen(across)} between {len(across.hosts)} hosts")
    if across.refused:
        return Objection(across.refused)
    if across.failures:
        return Objection(across.failures[0], Outcome.UNANSWERED)
    if across.miscounted:
        return Objection(f"the share's count is not exact ({across.miscounted})")
    idle = [host for host, turns in zip(across.hosts, across.per_host, strict=True) if not turns]
    if idle:
        return Objection(
            f"{', '.join(idle)} never got the claim within {across.seconds:g} s, so that nothing was seen of how the hosts "
            "exclude each other: try again with a larger --seconds",
            Outcome.UNANSWERED,
        )
    return None


def _seen(race: Race | Across) -> str:
    if race.overlaps:
        return f"{race.overlaps:,} overlap{'s' if race.overlaps > 1 else ''} seen"
    return f"a generation did not grow, {race.repeats:,} time{'s' if race.repeats > 1 else ''}"


def _none(found: Findings, objections: list[Objection]) -> tuple[Outcome, str]:
    unanswered = [objection for objection in objections if objection.outcome is Outcome.UNANSWERED]
    if unanswered:
        return Outcome.UNANSWERED, f"no answer: {unanswered[0].reason}"
    reason = objections[-1].reason if objections else "nothing was raced"
    return Outcome.NONE, f"use another directory than {found.directory}, or another backend: {reason}"


def _autos_choice(found: Findings) -> str:
    """What `auto` does here: see `AutoBackend`. A stamp decides, where there is one."""
    if found.windows:
        return WINDOWS
    links = found.stamp.links if found.stamp and not found.stamp.unreadable else found.primitives.hard_link.works
    return POSIX if links else ADVISORY


def _why(backend: str, found: Findings) -> str:
    links = found.primitives.hard_link
    if backend == POSIX:
        return "hard links exclude here"
    if backend == WINDOWS:
        return "hard links exclude here" if links.works else "renaming without replacing excludes here, under a guard"
    if backend == ADVISORY and not links.works:
        return f"no hard links ({links.reason}), but flock excludes here"
    return "flock excludes here" if backend == ADVISORY else "it was raced"


def _counts(found: Findings, backend: str) -> str:
    race = next(race for race in found.races if race.backend == backend)
    text = f"{race.processes} processes, {race.acquisitions:,} acquisitions, 0 overlaps"
    if found.across:
        text += f"; {len(found.across.hosts)} hosts, {found.across.turns:,} acquisitions, 0 overlaps"
    return text


def _local(filesystem: Filesystem) -> str:
    return f"{filesystem.point} is mounted with '{filesystem.local_guard}': a lock keeps nobody out but on this host"


def _contradictions(found: Findings) -> tuple[str, ...]:
    stamp = found.stamp
    if stamp is None or stamp.backend:
        return ()
    if stamp.unreadable:
        return (stamp.unreadable,)
    return tuple(filter(None, (_links_contradict(stamp, found), _guard_contradicts(stamp, found))))


def _links_contradict(stamp: Stamped, found: Findings) -> str:
    if not stamp.links or found.primitives.hard_link.works:
        return ""
    return (
        f"its stamp says that generations are published with hard links, and those do not work here now "
        f"({found.primitives.hard_link.reason}): was it copied from another filesystem?"
    )


def _guard_contradicts(stamp: Stamped, found: Findings) -> str:
    if not stamp.guard:
        return ""
    if found.windows != (stamp.guard == WINDOWS):
        other = "Windows hosts" if stamp.guard == WINDOWS else "POSIX systems"
        return f"its stamp says that it is used under a guard of {other}, which this host cannot hold"
    if stamp.guard == FLOCK and not found.primitives.flock.works:
        return f"its stamp says that it is used under flock, which does not exclude here ({found.primitives.flock.reason})"
    if stamp.guard == FLOCK and found.filesystem.local_guard:
        return f"its stamp says that it is used under flock, but {_local(found.filesystem)}"
    return ""
