"""Choosing a backend: by name, or by the scheme of its address.

All enter by the same door, the entry-point group `looop_portable.backends`. An entry is called with the data directory and,
where its scheme was named, with the URL: `opener(data_dir)`, `opener(data_dir, url)`. It returns a `Backend`. Those that
ship with the package, and our own distributions, are found without reading the entry points: that costs as much as five
bare interpreters.
"""

from __future__ import annotations

from collections.abc import Callable

from looop_portable.backends.base import Backend
from looop_portable.config import Chosen, located, recognized
from looop_portable.errors import BackendNotInstalled, LooopError, NoSuchBackend, Unavailable, UsageError, describe_error
from looop_portable.system.opening.locales import as_given
from looop_portable.typed import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from looop_portable.protocol.addresses import Address

GROUP = "looop_portable.backends"
AUTO = "auto"

Opener = Callable[..., Backend]

SHIPPED = {
    AUTO: "looop_portable.backends.directory.policies:open_auto",
    "posix": "looop_portable.backends.directory.policies:open_posix",
    "windows": "looop_portable.backends.directory.policies:open_windows",
    "advisory": "looop_portable.backends.directory.policies:open_advisory",
    "memory": "looop_portable.backends.memory:open_memory",
}

OF_ENGINES = {
    **dict.fromkeys(("redis", "rediss", "valkey", "valkeys", "redis+sentinel"), "looop_portable_redis:open_redis"),
    **dict.fromkeys(("postgres", "postgresql"), "looop_portable_postgres:open_postgres"),
    **dict.fromkeys(("etcd", "etcds"), "looop_portable_etcd:open_etcd"),
    **dict.fromkeys(("s3", "gs", "az"), "looop_portable_objects:open_objects"),
}
"""Those of our own distributions, where they are installed."""


def open_backend(name: Chosen, data_dir: str) -> Backend:
    """The backend called `name` in `data_dir` (`auto`: what platform and directory can do), or the one at that address.

    A backend of others is remembered there (see `remembered`), but for one whose claims are files there (see `Backend`).
    `memory` is not: what it has ends with the process.
    Raises `NoSuchBackend`, `BackendNotInstalled`, `WrongBackend`, or `CannotExclude` where it is for another platform; what
    an address is wrong about is a `UsageError`.
    """
    data_dir, name = located(as_given(data_dir), recognized(name))
    if isinstance(name, str) and name in SHIPPED:
        return find(name)(data_dir)
    backend = _inherits(find(name)(data_dir), name) if isinstance(name, str) else open_address(name, data_dir)
    from looop_portable.backends.remembered import Remembered, root_in

    if backend.directory and backend.directory.stamps == root_in(data_dir):
        return backend
    return Remembered(backend, name, data_dir)


def find(name: Chosen) -> Opener:
    """What opens the backend called `name`, or one of that scheme. Raises `NoSuchBackend` or `BackendNotInstalled`."""
    scheme = name if isinstance(name, str) else name.scheme
    target = SHIPPED.get(scheme)
    if target is None:
        return _of_engine(scheme) or _plugin(scheme, name)
    if not isinstance(name, str):
        raise NoSuchBackend(f"the backend '{scheme}' is chosen by its name, and not by a URL: it is for a directory")
    return _at(target)


def _at(target: str) -> Opener:
    module, _, attribute = target.partition(":")
    return cast("Opener", getattr(__import__(module, fromlist=(attribute,)), attribute))


def _of_engine(scheme: str) -> Opener | None:
    """That of one of our distributions. None: there is none, or it fails, which its entry point tells."""
    target = OF_ENGINES.get(scheme)
    if target is None:
        return None
    try:
        return _at(target)
    except (ImportError, AttributeError):
        return None


def _inherits(backend: object, name: str) -> Backend:
    """A plug-in's. One that only looks like a backend would fail in the middle of a claim."""
    from looop_portable.backends.base import Backend

    if isinstance(backend, Backend):
        return backend
    how = "its class has to inherit `looop_portable.Backend`, or `Engine`, as docs/explanation/engines.md has it"
    raise NoSuchBackend(f"the backend '{name}' is installed, and opens no backend: {how}")


def _plugin(scheme: str, name: Chosen) -> Opener:
    from importlib.metadata import entry_points

    found = entry_points(group=GROUP)
    for entry in found:
        if entry.name == scheme:
            try:
                return cast("Opener", entry.load())
            except Exception as error:
                kind = BackendNotInstalled if isinstance(error, ImportError) else NoSuchBackend
                raise kind(f"the backend '{scheme}' is installed and cannot be loaded: {error}") from error
    known = {*SHIPPED, *found.names}
    if isinstance(name, str):
        raise NoSuchBackend(f"no such backend: '{name}' (there are: {', '.join(sorted(known))})")
    others = [f"{each}://" for each in found.names if each not in SHIPPED]
    raise NoSuchBackend(
        f"no backend for '{scheme}://' is installed (there are: {', '.join(sorted({'file://', *others}))}; or by name: "
        f"{', '.join(sorted(known))})"
    )


def open_address(address: Address, data_dir: str) -> Backend:
    """The backend there. Whatever its plug-in raises has no password: neither this, nor what it is asked later."""
    from looop_portable.backends.sealed import Sealed, sealed

    opener = find(address)
    _refuse_without_url(opener, address)
    try:
        return cast("Backend", Sealed(_inherits(opener(data_dir, address.reveal()), address.scheme), address))
    except Exception as error:  # noqa: BLE001 (a client's own, of which nobody knows what it says)
        failure = sealed(error, address)
    if isinstance(failure, LooopError):
        raise failure
    why = " ".join(
        (describe_error(failure) if isinstance(failure, OSError) else str(failure) or type(failure).__name__).split()
    )
    wrong = UsageError if isinstance(failure, ValueError) else Unavailable
    raise wrong(f"{address}: {why}") from failure


def _refuse_without_url(opener: Opener, address: Address) -> None:
    import inspect

    try:
        inspect.signature(opener).bind("", "")
    except TypeError:
        raise NoSuchBackend(
            f"the backend '{address.scheme}' is chosen by its name, and not by a URL: it takes none"
        ) from None
    except ValueError:  # It is not written in Python, and does not tell.
        return
