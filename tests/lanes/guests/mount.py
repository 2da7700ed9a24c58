"""What each backend does on a mount: works, or refuses and says what to use. Run inside of a guest, by `lanes.guests.run`.

    cd tests && python -m lanes.guests.mount --filesystem nfs3-nolock [--directory SHARE]

Works: a claim is won, refused to another while its holder lives, had by that one after the holder is killed, and released.
On a network mount, where a process that is gone proves nothing by itself, the holder's keeper ends its session. It prints a
table. Exit 1: a backend does something else than `EXPECTED`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

EXPECTED = {
    "vfat": {"posix": "refuses", "advisory": "works", "auto": "works: advisory"},
    "exfat": {"posix": "refuses", "advisory": "works", "auto": "works: advisory"},
    "ext4": {"posix": "works", "advisory": "works", "auto": "works: posix"},
    "ext4-casefold": {"posix": "works", "advisory": "works", "auto": "works: posix"},
    "tmpfs": {"posix": "works", "advisory": "works", "auto": "works: posix"},
    "nfs4": {"posix": "works", "advisory": "works", "auto": "works: posix"},
    "nfs3": {"posix": "works", "advisory": "works", "auto": "works: posix"},
    "nfs3-nolock": {"posix": "works", "advisory": "refuses", "auto": "works: posix"},
    "smb": {"posix": "works", "advisory": "works", "auto": "works: posix"},
}
NETWORK = ("nfs4", "nfs3", "nfs3-nolock", "smb")
WAYS_OUT = {"posix": "--backend auto or advisory", "advisory": "--backend auto"}
"""What a refusal advises."""


class Looop:
    """The command, on one directory and one backend."""

    def __init__(self, directory: str, backend: str) -> None:
        self._before = [sys.executable, "-m", "looop_portable", "--data-dir", directory, "--backend", backend]
        self.said = ""

    def __call__(self, *args: str) -> int:
        done = subprocess.run([*self._before, *args], capture_output=True, text=True, timeout=300, check=False)
        self.said = done.stdout + done.stderr
        return done.returncode


def observed(directory: str, backend: str, lease: str) -> str:
    """What `backend` does in a new directory, for sessions of that lease.

    Raises AssertionError, with what was said, where that is neither.
    """
    looop = Looop(directory, backend)
    holder = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        looop("session", "start", "holder", "--pid", str(holder.pid), "--lease", lease)
        if looop("claim", "x", "--session", "holder") == 3:
            assert WAYS_OUT[backend] in looop.said, looop.said
            return "refuses"
        me = str(os.getpid())
        assert looop("session", "start", "other", "--pid", me, "--lease", lease) == 0, looop.said
        assert looop("claim", "x", "--session", "other") == 1, looop.said
        assert "held by live session 'holder'" in looop.said, looop.said
        assert looop("unclaim", "x", "--session", "other") == 1, looop.said
        holder.kill()
        holder.wait()
        assert looop("claim", "x", "--session", "other", "--wait", "--timeout", "60") == 0, looop.said
        assert looop("unclaim", "x", "--session", "other") == 0, looop.said
        assert looop("claims") == 0, looop.said
        assert "x " not in looop.said, looop.said
        assert looop("-v", "claims") == 0
        chosen = looop.said.partition("backend ")[2].split()[0]
        return f"works: {chosen}" if backend == "auto" else "works"
    finally:
        holder.kill()
        holder.communicate()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="What each backend does on a mount: see the head of this file.")
    parser.add_argument("--filesystem", required=True, choices=EXPECTED)
    parser.add_argument("--directory", default=os.environ.get("SHARED_DIR", ""), help="[$SHARED_DIR]")
    given = parser.parse_args(arguments)
    wrong = 0
    for backend, expected in EXPECTED[given.filesystem].items():
        directory = f"{given.directory}/{os.environ.get('HOST_NAME', 'here')}-{backend}"
        found = observed(directory, backend, "30" if given.filesystem in NETWORK else "0")
        wrong += found != expected
        print(
            f"{given.filesystem:14}{backend:10}{found:20}{'' if found == expected else f'expected: {expected}'}", flush=True
        )
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
