"""The schema, made where it is not there: see `schema.sql`, beside this.

Guarantees: of many who find that it is not there, one makes it. Where what is made may be what was lost, as behind a
failover, its numbers begin with one that was never used, and nothing is claimed for 4/3 of the longest lease.
Does not guarantee: that a schema which somebody has dropped is known to have been there, but by a process that had used it.
"""

from __future__ import annotations

from importlib import resources

from looop_portable.errors import CannotExclude
from looop_portable_postgres.address import Target
from looop_portable_postgres.wire import Wire

__all__ = ["OLDEST", "VERSION", "make"]

VERSION = 1

OLDEST = 130000
"""PostgreSQL 13 has gen_random_uuid()."""

FIRST = "00000001"
"""The timeline of a server that was never a standby, and never restored to a point in time: what is not there never was."""

_NOW = "date_part('epoch', clock_timestamp())"
_TIMELINE = "left(pg_walfile_name(pg_current_wal_lsn()), 8)"
_START = "(date_part('epoch', pg_postmaster_start_time()) * 1000000)::bigint"
_DURABLE = """if current_setting('synchronous_commit') not in ('on', 'remote_apply') then
      perform set_config('synchronous_commit', 'on', true);
    end if;"""
_FACTS = b"""select pg_is_in_recovery(), current_setting('fsync'),
  has_function_privilege('pg_walfile_name(pg_lsn)', 'execute')
    and has_function_privilege('pg_current_wal_lsn()', 'execute')"""


def make(wire: Wire, target: Target, end: float, *, lost: bool) -> None:
    """`lost`: it was there before, as far as is known here. Raises `CannotExclude` on a server that is read-only."""
    if wire.connection.server_version < OLDEST:
        raise CannotExclude(
            f"{target.where}: this is PostgreSQL {wire.connection.server_version // 10000}; it has to be 13 or newer"
        )
    ((is_replica, fsync, has_timeline),) = wire.ask(_FACTS, end=end)
    if is_replica:
        raise CannotExclude(replica(target.where))
    timeline = wire.ask(f"select {_TIMELINE}".encode(), end=end)[0][0] if has_timeline else ""
    lives = f"""concat({_TIMELINE if has_timeline else _START}, ':', '"looop".stamp'::regclass::oid, ' ',
      case current_setting('fsync') when 'off' then {_START} end)"""
    since = "clock_timestamp()"
    if timeline == FIRST and not lost:
        since = "" if fsync == "on" else "pg_postmaster_start_time()"
    known = f"""select * into strict stamp from "looop".stamp;
    if stamp.run <> {lives} then
      stamp := "looop".settle(null, null);
    end if;"""  # noqa: S608 (all of it is ours)
    text = resources.files(__package__).joinpath("schema.sql").read_text(encoding="utf-8")
    text = text[text.index("do $looop$") :]
    settled = f"""update "looop".stamp set longest = {target.longest};
    perform "looop".settle('{"dropped" if lost else "made"}', {since});"""  # noqa: S608 (all of it is ours)
    placed = {"$KNOWN$": known, "$RUN$": lives, "$NOW$": _NOW, "$DURABLE$": _DURABLE, "$LOST$": settled if since else ""}
    for mark, value in placed.items():
        text = text.replace(mark, value)
    wire.ask(text.replace('"looop"', f'"{target.schema}"').encode(), end=end)


def replica(where: str) -> str:
    return f"{where}: this server is a read-only replica, which cannot exclude anybody: name its primary"
