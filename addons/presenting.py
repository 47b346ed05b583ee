"""Takes LLMTrace keys and proxy credentials out of requests: they end here."""

import re
from collections.abc import Callable
from typing import Final

from mitmproxy import http

from llmtrace.domain.values import dataclass
from llmtrace.pipeline.keyring import KeyRefused
from llmtrace.pipeline.requests import fault
from llmtrace.providers.clients import (
    CREDENTIAL_HEADERS,
    CREDENTIAL_QUERY,
    basic_userinfo,
    proxy_userinfo,
)
from llmtrace.storage.keys import PREFIX, Presented

TOKEN_HEADER: Final = b"x-llmtrace-token"
NO_KEY: Final = Presented("", b"")
"""What is presented as a key and cannot be one."""
_PREFIX: Final = PREFIX.encode()
_BASIC: Final = frozenset({b"B", b"b", b" ", b"\t"})
_LIKE_A_KEY: Final = re.compile(rf"{PREFIX}[0-9A-Za-z]{{12}}_[0-9A-Za-z]{{16,}}".encode())
_LIKE_A_KEY_TEXT: Final = re.compile(_LIKE_A_KEY.pattern.decode())
_NO_PLACE: Final = frozenset({"cookie", "set-cookie", "sec-websocket-protocol"})
_CREDENTIALS: Final = frozenset(name.encode() for name in CREDENTIAL_HEADERS - _NO_PLACE)

type Present = Callable[[str], Presented | None]
"""``KeyRing.present``: what is told of a credential, None where it is no LLMTrace key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """What proxy credentials say: a user, and the key that is their password, if it is one."""

    user: str = ""
    key: Presented | None = None


NOBODY: Final = Login()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """All that a request shows of its caller to the gateway alone."""

    keys: tuple[Presented, ...] = ()
    login: Login = NOBODY


def take_login(request: http.Request, present: Present) -> Login | None:
    """Take the proxy credentials out of a request; None where it has none."""
    header: str = request.headers.pop("proxy-authorization", "")
    if not header:
        return None
    user, password = proxy_userinfo(header)
    return Login(user=user, key=present(password))


def take_keys(request: http.Request, present: Present) -> tuple[Presented, ...]:
    """Take all LLMTrace keys out of a request's headers, path and query; return them.

    Those that stand where no key is to be presented (in a cookie, or a path) are taken out too,
    and are not returned.
    """
    if PREFIX not in request.path and not any(map(_may_have_key, request.headers.fields)):
        return ()
    found: list[Presented] = []
    fields = request.headers.fields
    left = [(name, _left_of(name.lower(), value, present, found)) for name, value in fields]
    kept = tuple((name, value) for name, value in left if value is not None)
    if kept != fields:
        request.headers.fields = kept
    if PREFIX in request.path:
        request.path = _path_without(request.path, present, found)
    return tuple(found)


def _may_have_key(field: tuple[bytes, bytes]) -> bool:
    """Whether to look closer at a header: most have nothing of a key's in them."""
    name, value = field
    return (
        _PREFIX in value
        or (len(name) == len(TOKEN_HEADER) and name.lower() == TOKEN_HEADER)
        or (value[:1] in _BASIC and value.lstrip()[:5].lower() == b"basic")
    )


def _left_of(name: bytes, value: bytes, present: Present, found: list[Presented]) -> bytes | None:
    """Return what goes on of a header, None for nothing; what it presents goes to ``found``."""
    if name == TOKEN_HEADER:
        found.append(present(value.decode("utf-8", "surrogateescape").strip()) or NO_KEY)
        return None
    if name in _CREDENTIALS and (shown := _credential(value, present)):
        found.append(shown)
        return None
    if _PREFIX not in value:
        return value
    if name == b"sec-websocket-protocol":  # a list; browsers have no other place for a key
        items = [item.strip() for item in value.split(b",")]
        for item in items:
            key = item.rpartition(b".")[2].decode("utf-8", "surrogateescape")
            if shown := present(key):
                found.append(shown)
        return b", ".join(item for item in items if _PREFIX not in item) or None
    return None if _LIKE_A_KEY.search(value) else value


def _credential(value: bytes, present: Present) -> Presented | None:
    """Return the key that a credential is, bare or behind its scheme."""
    text = value.decode("utf-8", "surrogateescape").strip()
    scheme, _, rest = text.partition(" ")
    if scheme.lower() == "basic":
        user, password = basic_userinfo(text)
        return present(password) or present(user)
    return present(text) or present(rest.strip())


def _path_without(path: str, present: Present, found: list[Presented]) -> str:
    """Return a path without the parameters that are keys, and without anything like one."""
    place, mark, query = path.partition("?")
    kept = []
    for item in query.split("&") if mark else ():
        name, _, value = item.partition("=")
        shown = present(value) if name.lower() in CREDENTIAL_QUERY else None
        if shown:
            found.append(shown)
        else:
            kept.append(item)
    whole = place + ("?" + "&".join(kept) if kept else "")
    return _LIKE_A_KEY_TEXT.sub("", whole)


def challenge(error: KeyRefused) -> http.Response:
    """Return what a forward proxy answers to who has no key that lets it in.

    Source: RFC 9110 §15.5.8.
    """
    status, code, message = fault(error)
    headers = {"content-type": "text/plain; charset=utf-8"}
    if status == 401:
        status = 407
        headers["proxy-authenticate"] = 'Basic realm="LLMTrace"'
    return http.Response.make(status, f"{code}: {message}\n", headers)
