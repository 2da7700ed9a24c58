"""Claims in a bucket: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX and az://CONTAINER/PREFIX. What holds is said in `engine`."""

from __future__ import annotations

from looop_portable.backends.on_engine import OnEngine
from looop_portable_objects.place import place_in

__all__ = ["open_objects"]


def open_objects(data_dir: str, url: str = "") -> OnEngine:  # noqa: ARG001 (others keep files there)
    """What the entry points name. Raises `UsageError`; touches nothing."""
    place = place_in(url)
    from looop_portable_objects.engine import ObjectEngine  # It imports the client, which a wrong URL needs not.

    return OnEngine(ObjectEngine(place), place.scheme)
