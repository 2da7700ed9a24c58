"""What `typing` has for classes and annotations, without importing it: each start of the command would pay for it.

To a type checker these are the names of `typing`. When the package runs, a `NamedTuple` is made as `collections.namedtuple`
makes one, but nothing is compiled; the others do nothing.
Guarantees: such a class has the fields, the defaults, the methods and the speed of one of `typing.NamedTuple`.
Does not guarantee: that `isinstance` knows a `Protocol`, nor anything of a class in a module without
`from __future__ import annotations`.
"""

from __future__ import annotations

__all__ = [
    "IO",
    "TYPE_CHECKING",
    "Any",
    "Generic",
    "NamedTuple",
    "Protocol",
    "Self",
    "TextIO",
    "TypeAlias",
    "TypeVar",
    "cast",
]

TYPE_CHECKING = False
"""Type checkers take it for true."""

if TYPE_CHECKING:
    from typing import IO, Any, Generic, NamedTuple, Protocol, Self, TextIO, TypeAlias, TypeVar, cast
else:
    try:
        from _collections import _tuplegetter as _field
    except ImportError:  # Another Python than CPython.
        from operator import itemgetter

        def _field(index: int, doc: str) -> property:
            return property(itemgetter(index), doc=doc)

    IO = Any = Self = TextIO = TypeAlias = object
    _new = tuple.__new__

    class Generic:
        """Of any type."""

        def __class_getitem__(cls, _: object) -> type:
            return cls

    Protocol = Generic

    def TypeVar(*_: object, **__: object) -> None:  # noqa: N802 (it stands for a class)
        """No type."""

    def cast(_: object, value: object) -> object:
        return value

    _MAKERS = (
        lambda _cls: _new(_cls, ()),
        lambda _cls, a: _new(_cls, (a,)),
        lambda _cls, a, b: _new(_cls, (a, b)),
        lambda _cls, a, b, c: _new(_cls, (a, b, c)),
        lambda _cls, a, b, c, d: _new(_cls, (a, b, c, d)),
        lambda _cls, a, b, c, d, e: _new(_cls, (a, b, c, d, e)),
        lambda _cls, a, b, c, d, e, f: _new(_cls, (a, b, c, d, e, f)),
        lambda _cls, a, b, c, d, e, f, g: _new(_cls, (a, b, c, d, e, f, g)),
        lambda _cls, a, b, c, d, e, f, g, h: _new(_cls, (a, b, c, d, e, f, g, h)),
        lambda _cls, a, b, c, d, e, f, g, h, i: _new(_cls, (a, b, c, d, e, f, g, h, i)),
        lambda _cls, a, b, c, d, e, f, g, h, i, j: _new(_cls, (a, b, c, d, e, f, g, h, i, j)),
        lambda _cls, a, b, c, d, e, f, g, h, i, j, k: _new(_cls, (a, b, c, d, e, f, g, h, i, j, k)),
        lambda _cls, a, b, c, d, e, f, g, h, i, j, k, m, n, o, p, q, r, s, t, u: _new(
            _cls, (a, b, c, d, e, f, g, h, i, j, k, m, n, o, p, q, r, s, t, u)
        ),
    )
    """What makes a tuple of so many fields. A class has a copy of one, whose parameters are called as the fields are."""

    class _Maker(type):
        def __new__(mcs, name: str, bases: tuple[type, ...], body: dict[str, object]) -> type:
            if not bases:
                return super().__new__(mcs, name, bases, body)
            types = body.get("__annotations__", {})
            fields = tuple(types)
            defaults = {field: body.pop(field) for field in fields if field in body}
            if tuple(defaults) != fields[len(fields) - len(defaults) :]:
                raise TypeError(f"a field of {name} has no default, and stands behind one that has")
            body |= {field: _field(index, "") for index, field in enumerate(fields)}
            body |= {"__new__": _maker(name, fields, defaults), "__match_args__": fields, "__slots__": ()}
            body |= {"_fields": fields, "_field_defaults": defaults, "__orig_bases__": bases}
            inherited = ("_make", "_replace", "__replace__", "_asdict", "__repr__", "__getnewargs__")
            body |= {method: _METHODS[method] for method in inherited if method not in body}
            return type(name, (tuple,), body)

    def _maker(name: str, fields: tuple[str, ...], defaults: dict[str, object]) -> object:
        model = next((each for each in _MAKERS if each.__code__.co_argcount == 1 + len(fields)), None)
        if model:
            code = model.__code__.replace(co_varnames=("_cls", *fields), co_name="__new__", co_qualname=f"{name}.__new__")
            return type(model)(code, {"_new": _new, "__builtins__": {}}, "__new__", tuple(defaults.values()) or None)
        import collections

        return collections.namedtuple(name, fields, defaults=tuple(defaults.values())).__new__  # noqa: PYI024 (for types only)

    def _make(cls: type, values: object) -> tuple[object, ...]:
        made = _new(cls, values)
        if len(made) != len(cls._fields):
            raise TypeError(f"Expected {len(cls._fields)} arguments, got {len(made)}")
        return made

    def _replace(self: tuple[object, ...], /, **changed: object) -> tuple[object, ...]:
        made = self._make(map(changed.pop, self._fields, self))
        if changed:
            raise TypeError(f"Got unexpected field names: {list(changed)!r}")
        return made

    def _asdict(self: tuple[object, ...]) -> dict[str, object]:
        return dict(zip(self._fields, self, strict=True))

    def _repr(self: tuple[object, ...]) -> str:
        values = ", ".join(f"{field}={value!r}" for field, value in zip(self._fields, self, strict=True))
        return f"{type(self).__name__}({values})"

    def _getnewargs(self: tuple[object, ...]) -> tuple[object, ...]:
        return tuple(self)

    _METHODS = {
        "_make": classmethod(_make),
        "_replace": _replace,
        "__replace__": _replace,
        "_asdict": _asdict,
        "__repr__": _repr,
        "__getnewargs__": _getnewargs,
    }

    class NamedTuple(metaclass=_Maker):
        """A tuple whose fields have names: those that the class is given types for."""
