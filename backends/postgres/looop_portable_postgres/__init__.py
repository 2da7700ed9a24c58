"""Claims in PostgreSQL: `looop --backend postgresql://host/database claim repo-x`. What is promised: see `engine`."""

from __future__ import annotations

from looop_portable.backends.on_engine import OnEngine
from looop_portable.errors import BackendNotInstalled, UsageError

__all__ = ["open_postgres"]


def open_postgres(data_dir: str, url: str = "") -> OnEngine:  # noqa: ARG001 (the interface)
    """What the entry points name: the backend at a URL of libpq's. It connects when it is first asked.

    Raises `UsageError` for what is wrong with the URL.
    """
    if not url:
        raise UsageError("PostgreSQL is chosen by a URL: postgresql://HOST/DATABASE?prefix=looop")
    try:
        from looop_portable_postgres.address import target_in
        from looop_portable_postgres.engine import PostgresEngine
    except ImportError as error:  # psycopg is there, and the library that it calls may not be.
        raise BackendNotInstalled(
            f"PostgreSQL's client cannot be loaded (pip install 'psycopg[binary]'): {error}"
        ) from error
    return OnEngine(PostgresEngine(target_in(url)), "postgresql")
