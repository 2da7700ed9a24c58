"""What there is to be known of a cluster: its members, who leads, who may do what, how full it is."""

from __future__ import annotations

import re

from looop_portable.backends.engine import Fact
from looop_portable.errors import Unavailable
from looop_portable_etcd.gateway import Gateway
from looop_portable_etcd.wire import Call, Json

__all__ = ["facts"]

_METRICS = re.compile(r"^(etcd_server_quota_backend_bytes) ([0-9.e+]+)$", re.MULTILINE)
_MIB = 1 << 20

_MEND = "use 3.4.31, 3.5.13 or later: a leader that was stopped ends leases of others' too early (etcd#15247)"

_NO_LEADER = Fact("role", "nobody leads: most members are down, or cut off", False, "start them, or mend the network")


def facts(gateway: Gateway) -> list[Fact]:
    """Whatever a member does not tell is a fact as well. Raises `Unavailable` if it tells nothing at all."""
    try:
        (status,) = gateway.ask(Call("/v3/maintenance/status", {}))
    except Unavailable as error:
        if "no leader" in str(error):
            return [_NO_LEADER]
        raise
    found = [_version(status), _role(status), Fact("persistence", "what is confirmed is on the disks of most members")]
    for name, ask in (("members", _members), ("alarms", _alarms), ("users", _users)):
        try:
            found.append(ask(gateway))
        except Unavailable as error:
            found.append(Fact(name, f"they cannot be found out: {error}"))
    found += [_size(gateway, status), _transport(gateway)]
    return [*found, Fact("clock", "none is asked: leases count by the members' own, which nobody can set")]


def _version(status: Json) -> Fact:
    version = str(status.get("version", "unknown"))
    numbers = [int(each) for each in re.findall(r"\d+", version)[:2]]
    if numbers < [3, 4]:
        return Fact("version", f"etcd {version}", False, "use etcd 3.4 or later")
    return Fact("version", f"etcd {version}", advice="" if _is_mended(version) else _MEND)


def _is_mended(version: str) -> bool:
    numbers = [int(each) for each in re.findall(r"\d+", version)[:3]]
    return numbers >= [3, 5, 13] or [3, 4, 31] <= numbers < [3, 5]


def _role(status: Json) -> Fact:
    if status.get("isLearner"):
        return Fact("role", "a learner, which answers no reads that are the latest", False, "name the members that vote")
    leader = str(status.get("leader", "0"))
    if leader == "0":
        return _NO_LEADER
    own = str(status["header"].get("member_id", ""))
    return Fact("role", "the leader" if own == leader else "a follower of the one that leads")


def _members(gateway: Gateway) -> Fact:
    (found,) = gateway.ask(Call("/v3/cluster/member/list", {}))
    voting = [each for each in found.get("members", ()) if not each.get("isLearner")]
    may_fail = (len(voting) - 1) // 2
    told = f"{len(voting)} that vote{_answering(gateway)}: {may_fail} may fail"
    if len(voting) == 1:
        return Fact("members", told, advice="nothing is claimed while it is down: three survive the loss of one")
    return Fact("members", told, advice="" if len(voting) % 2 else "an even number survives no more than one less")


def _answering(gateway: Gateway) -> str:
    """How many of those that the URL names."""
    named = gateway.address.endpoints
    return f", {sum(map(gateway.answers, named))} of {len(named)} named here answer" if len(named) > 1 else ""


def _alarms(gateway: Gateway) -> Fact:
    (found,) = gateway.ask(Call("/v3/maintenance/alarm", {}))
    alarms = sorted({str(each.get("alarm", "?")) for each in found.get("alarms", ())})
    if not alarms:
        return Fact("alarms", "none")
    if "CORRUPT" in alarms:
        return Fact("alarms", ", ".join(alarms), False, "its members disagree about the data: mend the cluster first")
    return Fact("alarms", ", ".join(alarms), advice="compact its history, `etcdctl defrag`, then `etcdctl alarm disarm`")


def _users(gateway: Gateway) -> Fact:
    if gateway.is_logged_in:
        return Fact("users", f"they are asked for their passwords: this is '{gateway.address.user}'")
    return Fact("users", "nobody is asked for a password", advice="whoever reaches it may do all: `etcdctl auth enable`")


def _size(gateway: Gateway, status: Json) -> Fact:
    size, quota = int(status.get("dbSize", 0)), int(status.get("dbSizeQuota", 0)) or _quota(gateway)
    if not quota:
        return Fact("space", f"{size / _MIB:.1f} MiB are used; the quota is not told")
    advice = "let it compact its history: --auto-compaction-retention=1h, and `etcdctl defrag`" if size > quota / 2 else ""
    return Fact("space", f"{size / _MIB:.1f} MiB of {quota / _MIB:.0f} are used", advice=advice)


def _quota(gateway: Gateway) -> int:
    """By its metrics; 0: it does not tell."""
    try:
        found = _METRICS.search(gateway.text("/metrics"))
    except Unavailable:
        return 0
    return int(float(found[2])) if found else 0


def _transport(gateway: Gateway) -> Fact:
    if gateway.address.is_tls:
        return Fact("transport", "TLS, with a certificate of ours" if gateway.address.cert else "TLS")
    return Fact("transport", "no TLS", advice="whoever is on the network reads all, and passwords too: etcds://")
