"""Claims in etcd: the backends `etcd` and, with TLS, `etcds`. The engine is in `engine`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from looop_portable.backends.on_engine import OnEngine

__all__ = ["open_etcd"]


def open_etcd(data_dir: str, url: str = "") -> OnEngine:
    """What the entry points name. By its name alone it is the etcd that `etcdctl` finds, by ETCDCTL_ENDPOINTS."""
    from looop_portable.backends.on_engine import OnEngine
    from looop_portable_etcd.address import Address, by_environment
    from looop_portable_etcd.engine import EtcdEngine

    address = Address(url or by_environment())
    return OnEngine(EtcdEngine(address), address.scheme)
