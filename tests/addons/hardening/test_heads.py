import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.addons.hardening.heads import inspect_head
from llmtrace.addons.limits import Limits

LIMITS = Limits()
HOST = b"Host: api.openai.com\r\n"


def post(*headers: bytes, line: bytes = b"POST /v1/x HTTP/1.1", host: bytes = HOST) -> bytes:
    return line + b"\r\n" + host + b"".join(h + b"\r\n" for h in headers) + b"\r\n"


def status(data: bytes, limits: Limits = LIMITS) -> int | None:
    refusal = inspect_head(data, limits)
    return refusal.status if refusal else None


ACCEPTED = {
    "content-length": post(b"Content-Length: 5"),
    "chunked": post(b"Transfer-Encoding: chunked"),
    "chunked-any-case": post(b"transfer-encoding: CHUNKED"),
    "http-1.0": post(line=b"POST /v1/x HTTP/1.0"),
    "h2c-offer": post(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c"),
    "absolute-form": post(line=b"GET http://api.openai.com/v1 HTTP/1.1"),
    "absolute-form-default-port": post(line=b"GET http://api.openai.com:80/v1 HTTP/1.1"),
    "absolute-form-any-case": post(line=b"GET HTTP://API.openai.com/v1 HTTP/1.1"),
    "connect": post(line=b"CONNECT api.openai.com:443 HTTP/1.1"),
    "connect-ipv6": post(line=b"CONNECT [::1]:443 HTTP/1.1", host=b"Host: [::1]:443\r\n"),
    "connect-without-host": post(line=b"CONNECT api.openai.com:443 HTTP/1.1", host=b""),
    "options-asterisk": post(line=b"OPTIONS * HTTP/1.1"),
    "empty-value": post(b"X-Empty:"),
    "tab-in-value": post(b"X-Tab: a\tb"),
    "latin-1-value": post(b"X-Name: caf\xe9"),
    "not-yet-whole": b"POST /v1/x HTTP/1.1\r\nHost: api",
    "nothing-yet": b"",
}

REFUSED = {
    "content-length-and-chunked": post(b"Content-Length: 5", b"Transfer-Encoding: chunked"),
    "two-content-lengths": post(b"Content-Length: 5", b"Content-Length: 6"),
    "two-equal-content-lengths": post(b"Content-Length: 5", b"Content-Length: 5"),
    "content-length-list": post(b"Content-Length: 5, 5"),
    "content-length-plus": post(b"Content-Length: +5"),
    "content-length-minus": post(b"Content-Length: -1"),
    "content-length-hex": post(b"Content-Length: 0x5"),
    "content-length-leading-zero": post(b"Content-Length: 05"),
    "content-length-huge": post(b"Content-Length: " + b"9" * 19),
    "content-length-underscore": post(b"Content_Length: 5"),
    "space-before-colon": post(b"Content-Length : 5"),
    "te-xchunked": post(b"Transfer-Encoding: xchunked"),
    "te-twice": post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"),
    "te-list": post(b"Transfer-Encoding: gzip, chunked"),
    "te-vertical-tab": post(b"Transfer-Encoding: \x0bchunked"),
    "te-in-http-1.0": post(b"Transfer-Encoding: chunked", line=b"POST / HTTP/1.0"),
    "te-underscore": post(b"Transfer_Encoding: chunked"),
    "obs-fold": post(b"X-A: 1", b" folded"),
    "obs-fold-first": b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    "bare-lf": b"GET / HTTP/1.1\nHost: a\n\n",
    "bare-lf-between": b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
    "bare-lf-end": b"GET / HTTP/1.1\r\nHost: a\r\n\n",
    "bare-cr": post(b"X-A: a\rb"),
    "nul-in-value": post(b"X-A: a\x00b"),
    "nul-in-name": post(b"X\x00A: a"),
    "no-name": post(b": x"),
    "no-colon": post(b"nothing"),
    "two-hosts": post(HOST.strip()),
    "no-host": post(host=b""),
    "empty-host": post(host=b"Host:\r\n"),
    "host-with-userinfo": post(host=b"Host: a@api.openai.com\r\n"),
    "host-list": post(host=b"Host: a, b\r\n"),
    "host-percent": post(host=b"Host: %61pi.openai.com\r\n"),
    "absolute-other-host": post(line=b"GET http://127.0.0.1/ HTTP/1.1"),
    "absolute-other-port": post(line=b"GET http://api.openai.com:8080/ HTTP/1.1"),
    "absolute-userinfo": post(line=b"GET http://api.openai.com@evil.test/ HTTP/1.1", host=b""),
    "absolute-fragment": post(line=b"GET http://api.openai.com/#x HTTP/1.1"),
    "absolute-other-scheme": post(line=b"GET ftp://api.openai.com/ HTTP/1.1"),
    "connect-without-port": post(line=b"CONNECT api.openai.com HTTP/1.1"),
    "connect-port-too-big": post(line=b"CONNECT api.openai.com:99999 HTTP/1.1"),
    "connect-userinfo": post(line=b"CONNECT u@api.openai.com:443 HTTP/1.1"),
    "connect-other-host": post(line=b"CONNECT evil.test:443 HTTP/1.1"),
    "asterisk-without-options": post(line=b"GET * HTTP/1.1"),
    "no-slash": post(line=b"GET v1 HTTP/1.1"),
    "two-spaces": post(line=b"GET  / HTTP/1.1"),
    "tab-for-space": post(line=b"GET\t/ HTTP/1.1"),
    "raw-utf8-target": post(line="GET /é HTTP/1.1".encode()),
    "http-2.0": post(line=b"GET / HTTP/2.0"),
    "http-1.2": post(line=b"GET / HTTP/1.2"),
    "http-0.9": b"GET /\r\n",
    "pri-preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "socks5": b"\x05\x01\x00",
    "socks4": b"\x04\x01\x00\x50",
    "tls-record": b"\x16\x03\x01\x02\x00",
}


@pytest.mark.parametrize("data", ACCEPTED.values(), ids=ACCEPTED)
def test_accepted(data: bytes) -> None:
    assert inspect_head(data, LIMITS) is None


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_refused(data: bytes) -> None:
    assert status(data) == 400


def test_long_head_is_431_whole_or_not() -> None:
    limits = Limits(head_bytes=200)
    whole = post(b"X-Long: " + b"a" * 200)
    assert status(whole, limits) == 431
    assert status(whole[:201], limits) == 431
    assert status(whole[:200], limits) is None


def test_header_count_is_bounded() -> None:
    limits = Limits(header_count=3)
    assert status(post(b"A: 1", b"B: 2"), limits) is None
    assert status(post(b"A: 1", b"B: 2", b"C: 3"), limits) == 431


def test_what_follows_the_head_is_not_judged() -> None:
    assert inspect_head(post() + b"\x00\n\x05", LIMITS) is None


@pytest.mark.parametrize(
    "data", [d for d in ACCEPTED.values() if d], ids=[k for k in ACCEPTED if ACCEPTED[k]]
)
def test_no_part_of_an_accepted_head_is_refused(data: bytes) -> None:
    assert [status(data[:n]) for n in range(1, len(data) + 1)] == [None] * len(data)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([*ACCEPTED.values(), *REFUSED.values()]), st.binary(max_size=40))
def test_never_raises(head: bytes, noise: bytes) -> None:
    cut = len(noise) % (len(head) + 1)
    inspect_head(head[:cut] + noise + head[cut:], LIMITS)
    inspect_head(noise, LIMITS)
