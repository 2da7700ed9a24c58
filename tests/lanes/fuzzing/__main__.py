"""`python -m lanes.fuzzing --inputs 1000000`: all targets, two at a time; says which have failed, and by which input."""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from lanes.fuzzing.one import GROUPS
from lanes.fuzzing.target import Target

_DONE = re.compile(r"stat::number_of_executed_units: *(\d+)")


class Run(NamedTuple):
    """`failure`: empty where there was none."""

    target: str
    seed: int
    inputs: int
    seconds: float
    failure: str = ""


def all_targets() -> list[tuple[str, Target]]:
    """With their groups; but for the one whose fault is planted."""
    found = [(group, importlib.import_module(f"lanes.fuzzing.{group}")) for group in GROUPS if group != "planted"]
    return [(group, target) for group, module in found for target in module.TARGETS]


def run(group: str, target: str, inputs: int, seed: int) -> Run:
    """In a process of its own."""
    began = time.monotonic()
    command = [sys.executable, "-m", "lanes.fuzzing.one", group, target, f"--inputs={inputs}", f"--seed={seed}"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment, check=False)
    said = done.stdout + done.stderr
    place = next((Path(line[7:]) for line in said.splitlines() if line.startswith("place: ")), None)
    failure = ""
    if done.returncode:
        artifacts = [each for each in place.iterdir() if each.is_file()] if place else []
        inputs_told = "".join(f"\n  input: {each.read_bytes()[:400]!r}" for each in artifacts)
        failure = "\n".join(done.stdout.splitlines()[-40:] + done.stderr.splitlines()[-8:]) + inputs_told
    if place:
        shutil.rmtree(place, ignore_errors=True)
    found = _DONE.search(said)
    return Run(target, seed, int(found[1]) if found else 0, time.monotonic() - began, failure)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="of all targets together")
    parser.add_argument("--seed", type=int, default=int(time.time()) % 2**31)
    parser.add_argument("--target", action="append", default=[], help="only this one (may be said again)")
    asked = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print("not here: atheris (its releases are for CPython 3.11 to 3.13 on Linux): nothing is fuzzed")
        return 0
    known = [(group, each) for group, each in all_targets() if not asked.target or each.name in asked.target]
    shares = sum(target.share for _, target in known)
    for name in importlib.import_module("lanes.fuzzing.engines").MISSING:
        print(f"not here: looop_portable_{name}: its answers are not fuzzed")
    with ThreadPoolExecutor(2) as pool:
        runs = list(
            pool.map(lambda each: run(each[0], each[1].name, -(-asked.inputs * each[1].share // shares), asked.seed), known)
        )
    for each in runs:
        print(f"{each.target:<16} {each.inputs:>9} inputs {each.seconds:>7.1f} s  seed {each.seed}")
    failed = [each for each in runs if each.failure]
    for each in failed:
        print(f"\n{each.target} (seed {each.seed}) has failed:\n{each.failure}")
    print(f"{sum(each.inputs for each in runs)} inputs, {len(runs)} targets, {len(failed)} failed")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
