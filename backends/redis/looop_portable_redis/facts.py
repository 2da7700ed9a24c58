"""What there is to be known of a server, for `looop doctor`. It is pure: it reads what the server has said of itself."""

from __future__ import annotations

from looop_portable.backends.engine import Fact
from looop_portable_redis.address import Address
from looop_portable_redis.link import Info, is_lossless, refusals

__all__ = ["facts"]

SETTLES = "after a restart nothing is claimed for 4/3 of the longest lease"


def facts(address: Address, info: Info, config: Info, ahead: float) -> list[Fact]:
    """`ahead`: seconds by which the server's clock is ahead of this host's."""
    refused = {name: advice for name, _, advice in refusals(info)}
    product = info.get("server_name", "redis")
    version = info.get(f"{product}_version", info.get("redis_version", "unknown"))
    policy = f"{info.get('maxmemory_policy', 'unknown')}, maxmemory {info.get('maxmemory_human', 'unknown')}"
    found = {
        "version": f"{product} {version}",
        "role": f"{info.get('role', 'unknown')}" + (f", by Sentinel '{address.master}'" if address.master else ""),
        "eviction": policy,
        "cluster": "a node of a cluster" if "cluster" in refused else "no",
    }
    said = [Fact(name, text, name not in refused, refused.get(name, "")) for name, text in found.items()]
    return [*said, _persistence(address, info, config), _replication(address, info), _clock(ahead), _privacy(address)]


def _persistence(address: Address, info: Info, config: Info) -> Fact:
    if not config:
        return Fact("persistence", f"it may not be asked for (CONFIG GET): {SETTLES}", advice="grant +config|get")
    how = f"appendonly {config.get('appendonly', 'no')}, appendfsync {config.get('appendfsync', 'unknown')}"
    if not address.master and is_lossless(info, config):
        return Fact("persistence", f"{how}: what is confirmed survives a crash")
    if info.get("connected_slaves") != "0" or address.master:
        return Fact("persistence", f"{how}, and a replica may be promoted that lacks some of it: {SETTLES}")
    advice = "appendonly yes, appendfsync always, no-appendfsync-on-rewrite no: then there is no such wait"
    return Fact("persistence", f"{how}: {SETTLES}", advice=advice)


def _replication(address: Address, info: Info) -> Fact:
    many = info.get("connected_slaves", "0")
    advice = ""
    if many != "0" and not address.wait:
        advice = "?wait=1 lets no holder live on a master that is cut off from its replicas"
    waited = f", {address.wait} of which confirm each write" if address.wait else ""
    return Fact("replication", f"{many} replicas{waited}", advice=advice)


def _clock(ahead: float) -> Fact:
    offset = f"{abs(ahead):.3f} s {'ahead of' if ahead >= 0 else 'behind'} this host's"
    return Fact("clock", f"{offset}; it can be set, so a silence is watched before it is believed")


def _privacy(address: Address) -> Fact:
    if address.tls:
        return Fact("encryption", "TLS")
    return Fact("encryption", "none", advice="rediss:// where others can listen on the way")
