"""Shorter ways to what mitmproxy does many times for each call, with the same results.

It folds every name of a head anew for each header that it looks up, makes a connection for each
new context that it throws away, and copies each option that it reads, numbers and texts included.
"""

import copy
from typing import Any, Final

from mitmproxy import http, optmanager
from mitmproxy.proxy import context

UTF8: Final = ("utf-8", "surrogateescape")
SCALARS: Final = frozenset({bool, int, float, str, type(None)})


def _folded(name: str | bytes) -> bytes:
    if isinstance(name, str):
        return name.encode(*UTF8).lower()
    if isinstance(name, bytes):
        return name.lower()
    raise TypeError(f"Expected str or bytes, but got {type(name).__name__}.")


def get_all(headers: http.Headers, name: str | bytes) -> list[str]:
    """Return all values of a header, as ``Headers.get_all`` does."""
    wanted = _folded(name)
    return [value.decode(*UTF8) for key, value in headers.fields if key.lower() == wanted]


def get[T](headers: http.Headers, name: str | bytes, default: T | None = None) -> str | T | None:
    """Return a header's values joined by commas, as ``Headers.get`` does."""
    values = get_all(headers, name)
    return ", ".join(values) if values else default


def contains(headers: http.Headers, name: str | bytes) -> bool:
    """Say whether a header is there, as ``name in headers`` does."""
    wanted = _folded(name)
    return any(key.lower() == wanted for key, _ in headers.fields)


def pop(headers: http.Headers, name: str | bytes, *default: Any) -> Any:
    """Take a header out and return it, as ``Headers.pop`` does."""
    values = get_all(headers, name)
    if not values:
        if not default:
            raise KeyError(name)
        return default[0]
    wanted = _folded(name)
    headers.fields = tuple(field for field in headers.fields if field[0].lower() != wanted)
    return ", ".join(values)


def fork(parent: context.Context) -> context.Context:
    """Return a context with its own list of layers, as ``Context.fork`` does."""
    forked = context.Context.__new__(context.Context)
    forked.client, forked.server = parent.client, parent.server
    forked.options, forked.layers = parent.options, parent.layers.copy()
    return forked


def current(option: Any) -> Any:
    """Return an option's value, as ``_Option.current`` does: a copy, of what can be changed."""
    value = option._default if option.value is optmanager.unset else option.value
    return value if type(value) in SCALARS else copy.deepcopy(value)


SHORTCUTS: Final[tuple[tuple[object, str, object], ...]] = (
    (http.Headers, "get_all", get_all),
    (http.Headers, "get", get),
    (http.Headers, "__contains__", contains),
    (http.Headers, "pop", pop),
    (context.Context, "fork", fork),
    (vars(optmanager)["_Option"], "current", current),
)
"""Where mitmproxy looks them up, and what it shall find."""
