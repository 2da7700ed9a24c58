"""One target, by atheris, until so many inputs were tried or one has failed. A process of its own: atheris ends it."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
import tempfile
from pathlib import Path

GROUPS = ("records", "words", "system", "engines", "planted")
LONGEST, SECONDS, MEBIBYTES = 4096, 20, 2048
"""Bytes of an input; how long one may take; how much memory."""


def main() -> None:
    import atheris

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("group", choices=GROUPS)
    parser.add_argument("target")
    parser.add_argument("--inputs", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    asked = parser.parse_args()
    with atheris.instrument_imports(include=["looop_portable", *_distributions(), f"lanes.fuzzing.{asked.group}"]):
        module = importlib.import_module(f"lanes.fuzzing.{asked.group}")
    logging.disable()
    target = next(each for each in module.TARGETS if each.name == asked.target)
    place = Path(tempfile.mkdtemp(prefix="fuzzing-"))
    corpus = place / "corpus"
    corpus.mkdir()
    for at, seed in enumerate(target.seeds):
        (corpus / str(at)).write_bytes(seed)
    limits = [f"-runs={asked.inputs}", f"-seed={asked.seed}", f"-max_len={LONGEST}", f"-timeout={SECONDS}"]
    where = [f"-rss_limit_mb={MEBIBYTES}", f"-artifact_prefix={place}/", "-print_final_stats=1", str(corpus)]
    atheris.Setup([sys.argv[0], *limits, *where], target.check)
    print(f"place: {place}", flush=True)
    atheris.Fuzz()


def _distributions() -> list[str]:
    return [f"looop_portable_{name}" for name in ("redis", "etcd", "postgres", "objects")]


if __name__ == "__main__":
    main()
