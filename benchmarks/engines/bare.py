"""One transition with nothing of ours around it: compare a number, and set the next one with data, in one call.

By each server's client, as its documentation shows first, on the server that ours is measured on. Less cannot exclude.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from obstore.store import ObjectStore

Transition = Callable[[], object]

DATA = b'{"session": "bench", "name": "repo-x", "incarnation": "0123456789abcdef", "filled": "' + b"x" * 150 + b'"}\n'
"""As long as a lease of ours."""

_REDIS = """
if (redis.call('HGET', KEYS[1], 'number') or '0') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'number', ARGV[2], 'data', ARGV[3])
redis.call('PUBLISH', KEYS[1], ARGV[2])
return 1
"""

_POSTGRES = """
create table bare (key text primary key, number bigint not null, data bytea not null);
insert into bare values ('repo-x', 0, '');
create function bare(what text, after bigint, new bytea) returns boolean language plpgsql as $$
begin
  update bare set number = after + 1, data = new where key = what and number = after;
  return found;
end $$
"""


def of_redis(url: str) -> Transition:
    import redis

    parts = urlsplit(url)
    client: Any = redis.Redis(host=parts.hostname or "", port=parts.port or 0)
    script = client.script_load(_REDIS)
    at = 0

    def run() -> None:
        nonlocal at
        assert client.evalsha(script, 1, "bare", at, at + 1, DATA) == 1
        at += 1

    return run


def of_postgres(url: str) -> Transition:
    """Without prepared statements: poolers have none."""
    import psycopg

    connection = psycopg.connect(url.partition("?")[0], autocommit=True, prepare_threshold=None)
    connection.execute("drop table if exists bare; drop function if exists bare")
    connection.execute(_POSTGRES)
    at = 0

    def run() -> None:
        nonlocal at
        assert connection.execute("select bare(%s, %s, %s)", ("repo-x", at, DATA)).fetchone() == (True,)
        at += 1

    return run


def of_etcd(url: str) -> Transition:
    """By its gateway, a key's `version` being the number."""
    import urllib3

    parts = urlsplit(url)
    pool = urllib3.HTTPConnectionPool(parts.hostname or "", parts.port)
    key, data = base64.b64encode(b"bare").decode(), base64.b64encode(DATA).decode()
    at = 0

    def run() -> None:
        nonlocal at
        compare = {"key": key, "target": "VERSION", "result": "EQUAL", "version": str(at)}
        put, read = {"requestPut": {"key": key, "value": data}}, {"requestRange": {"key": key}}
        body = json.dumps({"compare": [compare], "success": [put], "failure": [read]})
        answer = pool.request("POST", "/v3/kv/txn", body=body, headers={"Content-Type": "application/json"})
        assert answer.json()["succeeded"]
        at += 1

    return run


def of_s3(url: str) -> Transition:
    from obstore.store import S3Store

    return _of_bucket(S3Store(urlsplit(url).netloc, endpoint=_endpoint(url), client_options={"allow_http": True}))


def of_azure(url: str) -> Transition:
    from obstore.store import AzureStore

    account, key = (os.environ[f"AZURE_STORAGE_ACCOUNT_{word}"] for word in ("NAME", "KEY"))
    options: Any = {"account_name": account, "account_key": key}
    store = AzureStore(urlsplit(url).netloc, endpoint=_endpoint(url), client_options={"allow_http": True}, **options)
    return _of_bucket(store)


def _of_bucket(store: ObjectStore) -> Transition:
    """An object is replaced if it is the one that was written last: by its ETag."""
    import obstore

    last = obstore.put(store, "bare", DATA)

    def run() -> None:
        nonlocal last
        last = obstore.put(store, "bare", DATA, mode={"e_tag": last["e_tag"]}, use_multipart=False)

    return run


def _endpoint(url: str) -> str:
    return parse_qs(urlsplit(url).query)["endpoint"][0]
