"""Being refused: a live other process holds it, and one try says so. The contenders in turns.

python benchmarks/refusal.py
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from contenders import HOLD, MAKERS
from figures import ratio, spread
from setting import Setting, in_turns, place, setting_of
from tables import OURS, Panel, Result, Table, duration, number, text
from troupe import Troupe

from looop_portable import Claims, Held

ROUNDS, QUICK = 40, 5
VERB = f"{OURS}: claim"


def measure(setting: Setting) -> Result:
    names = setting.kept(MAKERS)
    with place(setting.memory) as directory, ExitStack() as stack:
        runs: dict[str, Callable[[], object]] = {}
        for name in names:
            holder = Troupe(name, directory, 1)
            stack.callback(holder.end)
            holder.ready()
            holder.hold()
            runs[name] = refused(name, directory)
        if HOLD in runs:  # It is what holds.
            runs = {HOLD: runs[HOLD], VERB: refused_by_claim(directory)} | runs
        return result(in_turns(runs, setting.few(ROUNDS, QUICK)))


def refused(name: str, directory: str) -> Callable[[], object]:
    contender = MAKERS[name](directory)

    def run() -> None:
        assert not contender.attempt()

    return run


def refused_by_claim(directory: str) -> Callable[[], object]:
    claims = Claims.open(directory)
    me = claims.sessions.register().holder

    def run() -> None:
        assert isinstance(claims.claim("repo-x", me), Held)

    return run


def result(timed: dict[str, list[float]]) -> Result:
    first = next(iter(timed))
    rows = tuple(
        (name, duration(spread(times).median), duration(min(times)), f"{number(ratio(times, timed[first]))} x")
        for name, times in timed.items()
    )
    about = (
        "A live process holds it, another one tries once and is told no, on tmpfs. Ours judges whether the holder lives; "
        "what rests on the kernel's locks leaves that to it. The median and the least of rounds in which all take "
        "turns, and the median of the ratios, round by round, to the first row. The less the better."
    )
    panel = Panel("A refusal, tmpfs", "us", tuple((name, spread(times).median * 1e6) for name, times in timed.items()))
    return Result((Table("Refusal", about, ("", "one try", "least", "ratio"), rows),), (panel,))


if __name__ == "__main__":
    for table in measure(setting_of()).tables:
        print(text(table))
