"""Strict reading of a request's head: what two parsers could read differently is refused.

Rules of RFC 9112 (§2.2 line ends, §3 request line, §5 headers, §6 framing) in their strict
reading, with the leniencies that it permits left out. A head of HTTP/2 must be one that HTTP/1
can say: the provider may be sent it in that form (RFC 9113 §10.3).
"""

import re
from collections.abc import Iterable
from typing import Final

from llmtrace.addons.hardening.refusals import Refusal
from llmtrace.addons.limits import Limits

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE: Final = re.compile(rb"(%s) ([\x21-\x7e]+) HTTP/1\.([01])" % _TOKEN)
_HEADER: Final = re.compile(rb"(%s):[ \t]*([\t\x20-\x7e\x80-\xff]*)" % _TOKEN)
_AUTHORITY: Final = re.compile(
    rb"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._~-]{1,253})(?::([0-9]{1,5}))?"
)
_ABSOLUTE: Final = re.compile(rb"(https?)://([^/?#]*)(?:[/?][^#]*)?", re.IGNORECASE)
_METHOD: Final = re.compile(_TOKEN)
_PATH: Final = re.compile(rb"/[\x21-\x7e]*")
_LENGTH: Final = re.compile(rb"0|[1-9][0-9]{0,17}")
_HEAD_END: Final = re.compile(rb"\n\r?\n")
_DEFAULT_PORT: Final = {b"http": b"80", b"https": b"443"}
_LOOKALIKES: Final = frozenset({b"content_length", b"transfer_encoding"})
"""Headers that some servers take for the ones that frame a request."""


def _bad(message: str) -> Refusal:
    return Refusal(status=400, limit="malformed_request", message=message)


def inspect_head(data: bytes, limits: Limits) -> Refusal | None:
    """Judge what has come of a head so far.

    Args:
        data: All bytes of the connection from the head's first one on. What follows the head
            is not looked at.

    Returns:
        Why it is refused, or None where it is fine as far as it goes.
    """
    if not data:
        return None
    end = _HEAD_END.search(data)
    if end is None:
        return _inspect_part(data, limits)
    if end.end() > limits.head_bytes:
        return _too_long(limits)
    if end[0] != b"\n\r\n" or data[end.start() - 1 : end.start()] != b"\r":
        return _bad("a line of the head ends in a bare LF")
    return _inspect_lines(data[: end.start() - 1], limits)


def inspect_fields(fields: Iterable[tuple[bytes, bytes]]) -> Refusal | None:
    """Judge a head of HTTP/2, pseudo-headers included. h2 has looked for control characters."""
    headers = list(fields)
    said = dict(headers)
    method, path = said.get(b":method", b""), said.get(b":path", b"")
    if not _METHOD.fullmatch(method):
        return _bad("the method is malformed")
    if not _PATH.fullmatch(path) and (method, path) != (b"OPTIONS", b"*"):
        return _bad("the path is malformed")
    if said.get(b":scheme") not in (b"http", b"https"):
        return _bad("the scheme is neither http nor https")
    authority, *others = {*_values(headers, b":authority"), *_values(headers, b"host")} or {b""}
    if others or not _AUTHORITY.fullmatch(authority):
        return _bad("the authority is not one name or address with an optional port")
    return _inspect_framing(headers, b"1")


def _too_long(limits: Limits) -> Refusal:
    return Refusal(
        status=431,
        limit="head_bytes",
        message=f"the request's head is over {limits.head_bytes} bytes",
    )


def _inspect_part(data: bytes, limits: Limits) -> Refusal | None:
    """Refuse early what cannot become a head: other protocols, HTTP/0.9, endless lines."""
    if len(data) > limits.head_bytes:
        return _too_long(limits)
    line, newline, _ = data.partition(b"\n")
    if newline and not _REQUEST_LINE.fullmatch(line.removesuffix(b"\r")):
        return _bad("this is no HTTP/1.1 request line")
    if not re.match(_TOKEN, data):
        return _bad("this is no HTTP/1.1 request")
    return None


def _inspect_lines(head: bytes, limits: Limits) -> Refusal | None:
    lines = head.split(b"\r\n")
    if any(b"\n" in line or b"\r" in line for line in lines):
        return _bad("a line of the head ends in a bare CR or LF")
    if len(lines) - 1 > limits.header_count:
        return Refusal(
            status=431,
            limit="header_count",
            message=f"the request has over {limits.header_count} headers",
        )
    first = _REQUEST_LINE.fullmatch(lines[0])
    if not first:
        return _bad("the request line is malformed, or its version is not HTTP/1.0 or HTTP/1.1")
    headers: list[tuple[bytes, bytes]] = []
    for line in lines[1:]:
        header = _HEADER.fullmatch(line)
        if not header:
            return _bad("a header is malformed (folded, unnamed, or with control characters)")
        headers.append((header[1].lower(), header[2].rstrip(b" \t")))
    return _inspect_framing(headers, first[3]) or _inspect_target(first[1], first[2], headers)


def _values(headers: list[tuple[bytes, bytes]], wanted: bytes) -> list[bytes]:
    return [value for name, value in headers if name == wanted]


def _inspect_framing(headers: list[tuple[bytes, bytes]], minor: bytes) -> Refusal | None:
    lengths = _values(headers, b"content-length")
    codings = _values(headers, b"transfer-encoding")
    if any(name in _LOOKALIKES for name, _ in headers):
        return _bad("a header's name is one that servers read in different ways")
    if lengths and codings:
        return _bad("the request has both Content-Length and Transfer-Encoding")
    if len(lengths) > 1 or any(not _LENGTH.fullmatch(value) for value in lengths):
        return _bad("Content-Length is not one decimal number")
    if len(codings) > 1 or any(value.lower() != b"chunked" for value in codings):
        return _bad("Transfer-Encoding is something other than chunked")
    if codings and minor == b"0":
        return _bad("an HTTP/1.0 request has Transfer-Encoding")
    return None


def _inspect_target(
    method: bytes, target: bytes, headers: list[tuple[bytes, bytes]]
) -> Refusal | None:
    hosts = _values(headers, b"host")
    if len(hosts) > 1:
        return _bad("the request has more than one Host")
    named = [_AUTHORITY.fullmatch(host) for host in hosts]
    if None in named:
        return _bad("Host is not a name or address with an optional port")
    host = named[0] if named else None
    if method == b"CONNECT":
        return _inspect_connect(target, host)
    if target.startswith(b"/") or (target == b"*" and method == b"OPTIONS"):
        return None if host else _bad("the request has no Host")
    return _inspect_absolute(target, host)


def _inspect_connect(target: bytes, host: re.Match[bytes] | None) -> Refusal | None:
    wanted = _AUTHORITY.fullmatch(target)
    if not wanted or not wanted[2] or int(wanted[2]) > 65535:
        return _bad("the CONNECT target is not host:port")
    if host and host[1].lower() != wanted[1].lower():
        return _bad("Host names another host than the CONNECT target")
    return None


def _inspect_absolute(target: bytes, host: re.Match[bytes] | None) -> Refusal | None:
    url = _ABSOLUTE.fullmatch(target)
    wanted = _AUTHORITY.fullmatch(url[2]) if url else None
    if not url or not wanted:
        return _bad("the request target is neither a path nor an http URL without userinfo")
    if not host:
        return None
    default = _DEFAULT_PORT[url[1].lower()]
    named = (host[1].lower(), host[2] or default)
    if named != (wanted[1].lower(), wanted[2] or default):
        return _bad("Host names another host than the request target")
    return None
