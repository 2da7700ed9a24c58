"""The filesystem's calls where the locale's encoding is not UTF-8: see `locales`. They are those of `files/posix`.

How: each call settles the paths that it is given. All strings that one is given are paths.
"""

from __future__ import annotations

import builtins
import functools
import os
from collections.abc import Callable

from looop_portable.system.files.posix import OsFiles
from looop_portable.system.opening.locales import read_back, settled
from looop_portable.typed import Any


class Utf8Files(OsFiles):
    """`Files` on POSIX, in a locale of another encoding."""

    def list(self, path: str) -> builtins.list[str]:
        names: builtins.list[Any] = super().list(os.fsencode(settled(path)))  # type: ignore[arg-type]  # Bytes give bytes.
        return [read_back(name) for name in names]


def _settling(call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    def settling(self: Utf8Files, *args: Any, **options: Any) -> Any:
        return call(self, *(settled(arg) if isinstance(arg, str) else arg for arg in args), **options)

    return settling


for _name in dir(OsFiles):
    _call = getattr(OsFiles, _name)
    if not _name.startswith("_") and callable(_call) and _name not in vars(Utf8Files):
        setattr(Utf8Files, _name, _settling(_call))
