"""Finds the modules of this package where it is, and reads what was compiled of them, at less than what that costs Python.

Guarantees: what is imported is what Python would import. What was compiled counts only if it is of this Python, and of the
source as it is now (its time and its size, as PEP 552 has it). In all other cases Python looks and reads itself.
Does not guarantee: anything where the package is no directory of files, or is loaded by somebody else's loader: there
nothing is done here.
How: Python lists each directory, and looks at each file several times. That is a tenth of what a short verb costs. The
finder stands in `sys.meta_path` while this package is imported, and in the process of the command; no program is left with
it.
"""

from __future__ import annotations

import _imp
import io
import marshal
import os
import sys
from _frozen_importlib_external import MAGIC_NUMBER, SourceFileLoader, spec_from_file_location

from looop_portable.typed import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType

_PACKAGE = f"{__name__.partition('.')[0]}."
_FLAGS = bytes(4)
"""Of a file that is checked by the time and the size of its source."""


class _Loader(SourceFileLoader):
    """`source`: what is known of the file at `path`."""

    def __init__(self, name: str, path: str, source: os.stat_result) -> None:
        super().__init__(name, path)
        self._source = source

    def get_code(self, fullname: str) -> CodeType | None:
        return _compiled(str(self.path), self._source) or super().get_code(fullname)


class Finder:
    """What stands in `sys.meta_path`."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:  # noqa: ARG004
        if not path or not name.startswith(_PACKAGE):
            return None
        base = f"{path[0]}{os.sep}{name.rpartition('.')[2]}"
        for file, inside in ((f"{base}.py", None), (f"{base}{os.sep}__init__.py", [base])):
            try:
                loader = _Loader(name, file, os.stat(file))
            except OSError:
                continue
            return spec_from_file_location(name, file, loader=loader, submodule_search_locations=inside)
        return None


def _compiled(path: str, source: os.stat_result) -> CodeType | None:
    """None: there is none, or it is not of this source."""
    folder, _, name = path.rpartition(os.sep)
    try:
        with io.open_code(f"{folder}{os.sep}__pycache__{os.sep}{name[:-3]}.{sys.implementation.cache_tag}.pyc") as file:
            data = file.read()
    except OSError:
        return None
    of_source = (int(source.st_mtime) & 0xFFFFFFFF, source.st_size & 0xFFFFFFFF)
    if data[:16] != b"".join([MAGIC_NUMBER, _FLAGS, *(number.to_bytes(4, "little") for number in of_source)]):
        return None
    code = cast("CodeType", marshal.loads(memoryview(data)[16:]))  # noqa: S302 (as Python does)
    cast("Any", _imp)._fix_co_filename(code, path)
    return code


def begin() -> None:
    """From here on our modules are found here, if Python has found this one in the usual way."""
    usual = type(__spec__.loader) in (SourceFileLoader, _Loader) and not sys.flags.optimize and not sys.pycache_prefix
    if usual and Finder not in sys.meta_path:
        sys.meta_path.insert(0, Finder)


def end() -> None:
    if Finder in sys.meta_path:
        sys.meta_path.remove(Finder)


begin()
