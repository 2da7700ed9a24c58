"""The schemas of docs/reference/schema, and which of them an object of `--json`, or a line of the event log, has to fit."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

SCHEMA = Path(__file__).resolve().parents[2] / "docs" / "reference" / "schema"
COMMON = "common"

Object = Mapping[str, Any]


def _can_validate() -> bool:
    try:
        import_module("jsonschema")
    except ImportError:  # It is missing; or the compiled part of it is, under Wine say.
        return False
    return True


CAN_VALIDATE = _can_validate()


@cache
def schemas() -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(SCHEMA.glob("*.json"))}


def variants_of(name: str) -> list[dict[str, Any]]:
    """The objects that a schema is about, each closed."""
    found: list[dict[str, Any]] = schemas()[name]["oneOf"]
    return found


def resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """A property's schema, wherever it is written."""
    found: Mapping[str, Any] = schemas()[COMMON]["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return found


@cache
def _validators(name: str) -> list[Any]:
    referencing, draft = import_module("referencing"), import_module("jsonschema").Draft202012Validator
    resources = [(each["$id"], referencing.Resource.from_contents(each)) for each in schemas().values()]
    registry = referencing.Registry().with_resources(resources)
    # Whatever is named from here is in the registry by its bare name.
    return [draft(each, registry=registry) for each in map(_rooted, variants_of(name))]


def _rooted(variant: dict[str, Any]) -> dict[str, Any]:
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **variant}


def schema_for(said: Object) -> str:
    """The name of the schema that an object is to fit."""
    if "verb" in said:
        return str(said["verb"]).replace(" ", "-")
    return "event" if "event" in said else "error"


def variant_of(said: Object) -> tuple[str, int]:
    """The schema that it fits, and which variant of that. Raises AssertionError, with what is wrong."""
    name = schema_for(said)
    assert name in schemas(), f"no schema is about {said}"
    found = [at for at, each in enumerate(_validators(name)) if each.is_valid(said)]
    if len(found) == 1:
        return name, found[0]
    why = [
        f"{variant['title']}: {error.message}"
        for variant, each in zip(variants_of(name), _validators(name), strict=True)
        for error in each.iter_errors(said)
    ]
    raise AssertionError(f"{reprlib.repr(said)} fits {len(found)} of {name}.json: {'; '.join(why)}")


def objects_in(text: str) -> Iterator[Object]:
    """Of each line that is one."""
    for line in text.splitlines():
        if line.startswith("{") and line.endswith("}"):
            yield json.loads(line)
