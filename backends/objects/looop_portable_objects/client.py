"""The one module that speaks to a store: five requests, each within its time, and what goes wrong with one in a line.

Guarantees: a request is sent once: the client's own retries are off. What fails says no credential. What is not there is
None only where the store says that this object is not there.
Does not guarantee: anything in a forked child, where the client's threads are missing: see `apart`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

from looop_portable.errors import CannotExclude, Unavailable
from looop_portable_objects.place import Place

if TYPE_CHECKING:
    from obstore.store import AzureStore, GCSStore, S3Store

    Store = AzureStore | GCSStore | S3Store

__all__ = ["ANYTHING", "NOTHING_THERE", "Busy", "Client", "Found", "Refused", "Version"]

Version = dict[str, str]
"""What tells a version of an object from all others. `NOTHING_THERE`: there must be none. `ANYTHING`: all are right."""

NOTHING_THERE: Version = {}
ANYTHING = None


class Found(NamedTuple):
    """An object: what is in it, its version, and the second when the store began to write it."""

    data: bytes
    version: Version
    stamp: float


class Refused(Exception):
    """The condition of a `put` did not hold, or the store could not tell: another came, or it was oneself, or nobody."""


class Busy(Unavailable):
    """The store asks for less haste, and has done nothing."""


_HINTS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
_LARGEST = 1 << 24
"""Bytes: more than any record, and the one before it."""

_STATUS = re.compile(r"non-2xx status code: (\d+)")
_CODE = re.compile(r"<Code>(\w{1,60})</Code>")
_OF_OBJECTS = {"NoSuchKey", "BlobNotFound", "NoSuchVersion"}
_BUCKETS = {"NoSuchBucket", "ContainerNotFound", "InvalidBucketName"}
_LOOK_AGAIN = {"409", "412"}
_BUSY = {"429", "503"}
_LACKS = "501"
_DENIED = {"401", "403"}
_SKEWED = {"RequestTimeTooSkewed"}
_STRANGERS = {"XAdminUserNotFound", "InvalidAccessKeyId"}
_OF_CREDENTIALS = ("Credentials", "redential error", "MissingAccount", "InvalidAccessKey", "/latest/", "etadata/")


class Client:
    """The store at `place`, asked by one thread or by several. Making one connects to nothing."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._stores: dict[float, Store] = {}

    def ask(self, request: str, seconds: float, *args: Any) -> Any:
        """The answer to one of the requests below. Raises `Refused`, or `Unavailable` within about `seconds`."""
        asked: Callable[..., Any] = getattr(self, f"_{request}")
        try:
            return asked(self._store(seconds), *args)
        except FileNotFoundError as error:
            self._check_object_alone_is_missing(error)
            if request == "put":
                raise Refused from error
            return None
        except (AlreadyExistsError, PreconditionError) as error:
            raise Refused from error
        except (BaseError, ValueError, OSError) as error:
            raise self._failure(error, seconds) from None

    def _get(self, store: Store, name: str) -> Found:
        result = obstore.get(store, name)
        meta = result.meta
        if meta["size"] > _LARGEST:
            raise Unavailable(f"{self._place.where}: the object {name} is no record: it has {meta['size']} bytes")
        return Found(bytes(result.bytes()), _version(meta), meta["last_modified"].timestamp() // 1)

    @staticmethod
    def _stamp(store: Store, name: str) -> Found:
        meta = obstore.head(store, name)
        return Found(b"", _version(meta), meta["last_modified"].timestamp() // 1)

    @staticmethod
    def _put(store: Store, name: str, data: bytes, instead_of: Version | None) -> Version:
        mode: Any = "overwrite" if instead_of is None else instead_of or "create"
        return _version(obstore.put(store, name, data, mode=mode, use_multipart=False))

    @staticmethod
    def _delete(store: Store, name: str) -> None:
        obstore.delete(store, name)

    def _names(self, store: Store, prefix: str, after: str, limit: int) -> list[tuple[str, Version]]:
        """Those in the directory `prefix` and below it, behind `after`, in order. Fewer than `limit`: there are no more.

        Not every server of Azure's protocol begins behind a name, or has this order: there each page costs as much as all.
        """
        found: list[tuple[str, Version]] = []
        for page in obstore.list(store, prefix, offset=after or None):
            found += [(each["path"], _version(each)) for each in page if each["path"] > after]
            if len(found) >= limit and self._place.scheme != "az":
                break
        return sorted(found, key=lambda each: each[0])[:limit]

    @staticmethod
    def _link(store: Store, name: str) -> str:
        """Where anybody can ask for an object's headers for a few seconds. It holds a signature: a secret."""
        return obstore.sign(store, "HEAD", name, timedelta(seconds=30))

    def _store(self, seconds: float) -> Store:
        store = self._stores.get(seconds)
        if store is None:
            store = self._stores[seconds] = self._made(seconds)
        return store

    def _made(self, seconds: float) -> Store:
        from obstore.store import AzureStore, GCSStore, S3Store

        place, endpoint = self._place, self._place.endpoint
        common: Any = {
            "client_options": {
                "allow_http": endpoint.startswith("http://"),
                "timeout": timedelta(seconds=seconds),
                "connect_timeout": timedelta(seconds=seconds),
                "pool_max_idle_per_host": "3",
            },
            "retry_config": {"max_retries": 0, "retry_timeout": timedelta(0)},
        }
        if place.scheme == "s3":
            config = {"endpoint": endpoint, "region": place.region, "conditional_put": "etag"}
            return S3Store(place.bucket, config=_given(config), **common)
        if place.scheme == "gs":
            return GCSStore(place.bucket, config=_given({"base_url": endpoint}), **common)
        return AzureStore(place.bucket, config=_given({"endpoint": endpoint, "account_name": place.account}), **common)

    def _check_object_alone_is_missing(self, error: FileNotFoundError) -> None:
        """A bucket, or a user, that is not there has the same status as an object."""
        code = _CODE.search(_words(error))
        if code and code[1] not in _OF_OBJECTS:
            raise self._failure(error, 0.0) from None

    def _failure(self, error: Exception, seconds: float) -> Exception:
        """What it means, in a line. The first that applies is said."""
        text, hint = _words(error), _HINTS[self._place.scheme]
        status, code = (found[1] if found else "" for found in (_STATUS.search(text), _CODE.search(text)))
        said = f"{status} {code}".strip()
        refused = f"the store refuses these credentials ({said})"
        if status in _LOOK_AGAIN:
            return Refused()
        told: list[tuple[bool, type[Unavailable], str]] = [
            (status in _BUSY, Busy, f"the store asks for fewer requests ({said}): try again later, or claim less often"),
            (
                status == _LACKS,
                CannotExclude,
                f"the store has no conditional writes ({said}): use another",
            ),
            (code in _BUCKETS, Unavailable, f"there is no such bucket ({said}): make it first"),
            (code in _SKEWED, Unavailable, f"the store refuses this host's clock ({said}): set it"),
            (
                status in _DENIED,
                Unavailable,
                f"{refused}: look at {hint}, and at their rights",
            ),
            (code in _STRANGERS, Unavailable, f"{refused}: look at {hint}"),
            (bool(said), Unavailable, f"the store has answered {said}"),
            (True, Unavailable, _silence(str(error), seconds)),
        ]
        kind, words = next((kind, words) for applies, kind, words in told if applies)
        return kind(f"{self._place.where}: {words}")


def _words(error: Exception) -> str:
    return str(error).partition("\n\nDebug source")[0]


def _silence(text: str, seconds: float) -> str:
    """Why there is no answer at all."""
    if any(word in text for word in _OF_CREDENTIALS):
        return "there are no credentials for it in the environment, or they cannot be read, and this machine gives none"
    if "kind: Timeout" in text or "TimedOut" in text:
        return f"the store has not answered within {seconds:g} s"
    if "ConnectionRefused" in text:
        return "nobody listens there (connection refused)"
    if "dns error" in text:
        return "the name of its host is not known"
    if "ertificate" in text or "InvalidMessage" in text or "InvalidContentType" in text:
        return "no TLS can be agreed on with it: look at https:// or http://, and at its certificate"
    return f"the store cannot be reached: {' '.join(text.partition('Debug source')[0].split())[-160:]}"


def _version(meta: Any) -> Version:
    return {part: meta[part] for part in ("e_tag", "version") if meta[part]}


def _given(config: dict[str, str]) -> Any:
    return {name: value for name, value in config.items() if value}
