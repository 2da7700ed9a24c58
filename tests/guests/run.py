"""Everything that needs other machines: what each backend does on real mounts, and chaos between two hosts on a share.

    cd tests && python -m guests.run [--short] [--only nfs4]

$NETFS_RUN names the command that boots guests (default: ../shared/netfs/run beside the checkout) and runs a command in all
of them: `$NETFS_RUN --fs KIND [--hosts N] -- COMMAND`, with SHARED_DIR, HOST_INDEX and HOST_COUNT set there. They see this
machine's files. Without one this says so and succeeds; where $NETFS_RUN is set, it must work.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
MOUNTS = ["vfat", "nfs3-nolock", "exfat", "ext4-casefold", "nfs4", "nfs3", "smb"]
SHARES = ["nfs4", "nfs3", "nfs3-nolock", "smb"]
SHORT = (["vfat", "nfs3-nolock"], ["nfs4"], 20)


def in_guests(command: str, kind: str, words: list[str], hosts: int) -> int:
    """Run a module of this package in each guest; its exit code."""
    module = " ".join(shlex.quote(word) for word in [sys.executable, "-m", *words])
    inside = f"cd {shlex.quote(str(TESTS))} && exec {module}"
    guests = ["--fs", kind, "--timeout", "900", "--hosts", str(hosts)]
    print(f"== {kind}: {' '.join(words)}", flush=True)
    return subprocess.run([command, *guests, "--", "bash", "-c", inside], check=False).returncode


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="On guests: see the head of this file.")
    parser.add_argument("--short", action="store_true", help="a few minutes")
    parser.add_argument("--only", help="one filesystem")
    parser.add_argument("--seconds", type=int, default=60)
    given = parser.parse_args(arguments)
    named = os.environ.get("NETFS_RUN")
    command = named or str(TESTS.parents[1] / "shared" / "netfs" / "run")
    if not os.access(command, os.X_OK):
        print(f"guests: skipped: {command} is missing (set NETFS_RUN)")
        return int(bool(named))
    mounts, shares, seconds = SHORT if given.short else (MOUNTS, SHARES, given.seconds)
    failed = []
    for kind in mounts:
        if given.only in (None, kind):
            words = ["guests.mount", "--filesystem", kind]
            if in_guests(command, kind, words, 1):
                failed.append(f"{kind}: mount")
    for kind in shares:
        if given.only in (None, kind):
            words = ["guests.race", "--seconds", str(seconds), "--processes", "3"]
            if in_guests(command, kind, words, 2):
                failed.append(f"{kind}: race")
    print(f"guests: {'failed: ' + ', '.join(failed) if failed else 'all passed'}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
