"""Claims in Redis or Valkey. What is guaranteed, and what is not, is at the head of `engine`."""

from __future__ import annotations

from looop_portable.backends.on_engine import OnEngine

__all__ = ["open_redis"]


def open_redis(data_dir: str, url: str = "") -> OnEngine:  # noqa: ARG001 (the interface)
    """What the entry points name. Nothing is connected to. Raises `UsageError` where the URL makes no sense."""
    from looop_portable_redis.address import read_url

    address = read_url(url)
    from looop_portable_redis.engine import RedisEngine

    return OnEngine(RedisEngine(address), address.scheme)
