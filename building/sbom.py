"""`tox -e sbom -- DIRECTORY`: for the core, and for it with each engine, what is installed, as a CycloneDX document.

Does not guarantee: the versions that somebody else gets; they are those of the day.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from distributions import distributions
from environments import made


def main() -> None:
    into = Path(sys.argv[1])
    into.mkdir(parents=True, exist_ok=True)
    core, *engines = distributions()
    for each in (core, *engines):
        with tempfile.TemporaryDirectory(prefix="looop-portable-sbom-") as where:
            python = made(Path(where), [core] if each is core else [core, each])
            document = into / f"{each.file_name}.cdx.json"
            command = [
                sys.executable,
                "-m",
                "cyclonedx_py",
                "environment",
                "--output-reproducible",
                "--output-format",
                "JSON",
            ]
            command += ["--pyproject", str(each.folder / "pyproject.toml"), "--output-file", str(document), str(python)]
            subprocess.run(command, check=True)
        components = json.loads(document.read_text(encoding="utf-8"))["components"]
        print(f"{document}: {', '.join(sorted(found['name'] for found in components))}")


if __name__ == "__main__":
    main()
