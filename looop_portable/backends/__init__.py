"""Choosing a backend by name.

All enter by the same door, the entry-point group `looop_portable.backends`: an entry is called with the data directory
and returns a `Backend`. Those that ship with the package are found without reading the entry points, which costs as much
as five bare interpreters.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import cast

from looop_portable.backends.base import Backend
from looop_portable.errors import BackendNotInstalled, NoSuchBackend
from looop_portable.system.opening.locales import as_given

GROUP = "looop_portable.backends"
AUTO = "auto"

Opener = Callable[[str], Backend]

SHIPPED = {
    AUTO: "looop_portable.backends.auto:open_auto",
    "posix": "looop_portable.backends.directory.posix:open_posix",
    "windows": "looop_portable.backends.directory.windows:open_windows",
    "advisory": "looop_portable.backends.directory.advisory:open_advisory",
    "memory": "looop_portable.backends.memory:open_memory",
}


ENGINES = {name: f"looop-portable-{name}" for name in ("etcd", "postgres", "redis")}
"""Backends that are distributions of their own."""


def open_backend(name: str, data_dir: str) -> Backend:
    """The backend called `name` in `data_dir` (`auto`: what platform and directory can do).

    A backend of others is remembered there (see `remembered`), but for one whose claims are files there (see `Backend`).
    `memory` is not: what it has ends with the process.
    Raises `NoSuchBackend`, `BackendNotInstalled`, `WrongBackend`, or `CannotExclude` where it is for another platform.
    """
    data_dir = as_given(data_dir)
    backend = find(name)(data_dir)
    if name in SHIPPED:
        return backend
    from looop_portable.backends.remembered import Remembered, root_in

    if backend.directory and backend.directory.stamps == root_in(data_dir):
        return backend
    return Remembered(backend, name, data_dir)


def find(name: str) -> Opener:
    """What opens the backend called `name`. Raises `NoSuchBackend` or `BackendNotInstalled`."""
    target = SHIPPED.get(name)
    if target is None:
        return _plugin(name)
    module, _, attribute = target.partition(":")
    return cast("Opener", getattr(import_module(module), attribute))


def _plugin(name: str) -> Opener:
    from importlib.metadata import entry_points

    found = entry_points(group=GROUP)
    for entry in found:
        if entry.name == name:
            try:
                return cast("Opener", entry.load())
            except Exception as error:
                raise NoSuchBackend(f"the backend '{name}' is installed and cannot be loaded: {error}") from error
    if name in ENGINES:
        raise BackendNotInstalled(f"the backend '{name}' is not installed: pip install {ENGINES[name]}")
    known = sorted({*SHIPPED, *found.names})
    raise NoSuchBackend(f"no such backend: '{name}' (there are: {', '.join(known)})")
