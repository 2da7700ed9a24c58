"""What several hosts report of their race, put together. Pure.

Guarantees: every host comes to the same result from the same reports.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from looop_portable.doctor.findings import Across, Race


def report(host: str, race: Race, turns: Sequence[tuple[int, int]]) -> dict[str, object]:
    """One host's, as a record. `turns` are pairs of the share's count and the claim's generation."""
    return {"host": host, **race._asdict(), "turns": [list(turn) for turn in turns]}


def together(reports: Sequence[Mapping[str, object]]) -> Across:
    """All hosts' reports, in the order of their names."""
    races = [_race(each) for each in reports]
    turns = sorted(turn for each in reports for turn in _turns(each))
    numbers = [number for number, _ in turns]
    twice = len(numbers) - len(set(numbers))
    return Across(
        backend=races[0].backend,
        hosts=tuple(str(each["host"]) for each in reports),
        per_host=tuple(race.acquisitions for race in races),
        processes=sum(race.processes for race in races),
        seconds=max(race.seconds for race in races),
        turns=len(turns),
        overlaps=sum(race.overlaps for race in races) + twice,
        repeats=sum(later <= earlier for (_, earlier), (_, later) in pairwise(turns)),
        miscounted=_miscounted(numbers),
        refused=next(
            (f"{each['host']}: {race.refused}" for each, race in zip(reports, races, strict=True) if race.refused), ""
        ),
        failures=tuple(
            f"{each['host']}: {one}" for each, race in zip(reports, races, strict=True) for one in race.failures
        ),
    )


def _miscounted(numbers: Sequence[int]) -> str:
    missing = sorted(set(range(1, len(numbers) + 1)) - set(numbers))
    return f"turn {missing[0]} of {len(numbers)} is missing" if missing else ""


def _race(found: Mapping[str, object]) -> Race:
    known = {key: value for key, value in found.items() if key in Race._fields}
    failures = known.get("failures")
    return Race(**{**known, "failures": tuple(map(str, failures)) if isinstance(failures, list) else ()})  # type: ignore[arg-type]


def _turns(found: Mapping[str, object]) -> list[tuple[int, int]]:
    turns = found["turns"]
    assert isinstance(turns, list)
    return [(int(number), int(generation)) for number, generation in turns]
