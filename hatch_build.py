"""What the wheel has beside the package: the man pages and the completion files, made of the commands when it is built."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Sharing(BuildHookInterface):  # type: ignore[type-arg] # What it is generic in hatchling does not export.
    """Nothing is written into the tree that is built from."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 (hatchling's signature)
        self._made = tempfile.TemporaryDirectory(prefix="looop-portable-share-")
        for at, (place, text) in enumerate(self._files().items()):
            path = Path(self._made.name, str(at))
            path.write_text(text, encoding="utf-8", newline="\n")
            build_data["shared_data"][str(path)] = place

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        self._made.cleanup()

    def _files(self) -> dict[str, str]:
        found = [self.root, str(Path(self.root, "building"))]
        sys.path[:0] = found
        try:
            from completions import completions
            from manual import pages
        except ImportError as error:
            lacking = "the man pages are made of the commands, and building needs what `build-system.requires` lists"
            raise SystemExit(f"{lacking}: {error}") from error
        finally:
            del sys.path[: len(found)]
        return completions() | {f"share/man/man1/{name}": text for name, text in pages().items()}
