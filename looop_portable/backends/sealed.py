"""A backend that was opened by an address, out of which no password comes: whatever its plug-in, or a client that this
uses, says of an error.

Guarantees: of what it raises, neither the message nor the chain of errors behind it has a password of the address.
Does not guarantee: that the plug-in keeps it to itself in what it prints, logs, or writes into the store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import MethodType

from looop_portable.errors import Unavailable
from looop_portable.protocol.addresses import Address
from looop_portable.typed import Any

__all__ = ["Sealed", "sealed"]

_PLAIN = (str, bytes, int, float, tuple, list, dict, type(None))
_OF_OSERROR = ("strerror", "filename", "filename2")


class Sealed:
    """`inner`, and all that is reached by way of it. Any object: it stands in for a `Backend`, and for what that has."""

    def __init__(self, inner: object, address: Address) -> None:
        self._inner = inner
        self._address = address

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # Python asks for these of what it makes, before there is anything in it.
            raise AttributeError(name)
        found = _asked(self._address, lambda: getattr(self._inner, name))
        if isinstance(found, _PLAIN):
            return found
        if not callable(found):
            return Sealed(found, self._address)
        call = self._calling(name, found)
        if isinstance(found, MethodType):  # Of a class, so it stays the same, and is not looked up again.
            self.__dict__[name] = call
        return call

    def _calling(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        address = self._address

        def call(*args: Any, **options: Any) -> Any:
            try:
                found = method(*args, **options)
            except Exception as error:  # noqa: BLE001 (it goes on, without what is secret)
                failure = sealed(error, address)
            else:
                if isinstance(found, Iterator):
                    return _each(address, found)
                if name == "unavailable" and isinstance(found, str):
                    return address.hide(found)
                if name == "tidy" and isinstance(found, list):
                    return [(claim, address.hide(reason)) for claim, reason in found]
                return found
            raise failure  # Not above: it would have the error as its context.

        return call


def _each(address: Address, found: Iterator[Any]) -> Iterator[Any]:
    end = object()
    while (item := _asked(address, lambda: next(found, end))) is not end:
        yield item


def _asked(address: Address, ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except Exception as error:  # noqa: BLE001 (it goes on, without what is secret)
        failure = sealed(error, address)
    raise failure  # Not above: it would have the error as its context.


def sealed(error: Exception, address: Address) -> Exception:
    """The same error, of which no message has a password: nor that of another behind it. One that keeps it is replaced."""
    chain = list(_chain(error))
    for each in chain:
        _clean(each, address)
    if not any(_shows(each, address) for each in chain):
        return error
    if not _shows(error, address):
        error.__cause__ = error.__context__ = None
        return error
    return Unavailable(address.hide(f"{address}: {type(error).__name__}: {error}"))


def _chain(error: BaseException) -> Iterator[BaseException]:
    found, left = set[int](), [error]
    while left:
        each = left.pop()
        if id(each) not in found:
            found.add(id(each))
            yield each
            left += [other for other in (each.__cause__, each.__context__) if other]
            left += each.exceptions if isinstance(each, BaseExceptionGroup) else ()


def _clean(error: BaseException, address: Address) -> None:
    error.args = tuple(_without(each, address) for each in error.args)
    for name, value in vars(error).items():
        vars(error)[name] = _without(value, address)
    if isinstance(error, OSError):
        for name in _OF_OSERROR:
            value = getattr(error, name)
            if (without := _without(value, address)) is not value:  # One that is not there would be shown once it is None.
                setattr(error, name, without)


def _without(value: Any, address: Address) -> Any:
    """`value`; where it has a password, its text without that."""
    if isinstance(value, str):
        hidden = address.hide(value)
        return value if hidden == value else hidden
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return type(value)(_without(each, address) for each in value)
    text = repr(value)
    hidden = address.hide(text)
    return value if hidden == text else hidden


def _shows(error: BaseException, address: Address) -> bool:
    return any(address.hide(text) != text for text in (str(error), repr(error)))
