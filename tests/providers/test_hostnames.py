"""Every spelling of a host has one canonical form, and what is odd is refused."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.providers.hostnames import BadHost, canonical_host, split_host


@pytest.mark.parametrize(
    ("raw", "host", "port"),
    [
        pytest.param("api.openai.com", "api.openai.com", None, id="as-is"),
        pytest.param("API.OpenAI.COM", "api.openai.com", None, id="upper-case"),
        pytest.param("api.openai.com.", "api.openai.com", None, id="one-trailing-dot"),
        pytest.param("API.OPENAI.COM.:443", "api.openai.com", 443, id="all-at-once"),
        pytest.param("api.openai.com:", "api.openai.com", None, id="empty-port"),
        pytest.param("\uff41pi.openai.com", "api.openai.com", None, id="fullwidth-letter"),
        pytest.param("api。openai。com", "api.openai.com", None, id="ideographic-dots"),
        pytest.param("bücher.example", "xn--bcher-kva.example", None, id="idna"),
        pytest.param("127.1:8080", "127.0.0.1", 8080, id="short-address"),
        pytest.param("\uff11\uff12\uff17.0.0.1", "127.0.0.1", None, id="fullwidth-address"),
        pytest.param("127.0.0.1.", "127.0.0.1", None, id="address-with-dot"),
        pytest.param("[::1]:8080", "::1", 8080, id="v6-with-port"),
        pytest.param("::1", "::1", None, id="v6-bare"),
        pytest.param("[::FFFF:127.0.0.1]", "::ffff:127.0.0.1", None, id="v6-mapped"),
        pytest.param("my_host.internal", "my_host.internal", None, id="underscore"),
    ],
)
def test_canonical_form(raw: str, host: str, port: int | None) -> None:
    assert split_host(raw) == (host, port)
    assert canonical_host(host) == host


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param("", id="empty"),
        pytest.param(".", id="dot"),
        pytest.param("api.openai.com..", id="two-trailing-dots"),
        pytest.param("api..openai.com", id="empty-label"),
        pytest.param(".openai.com", id="leading-dot"),
        pytest.param("user@api.openai.com", id="userinfo"),
        pytest.param("%61pi.openai.com", id="percent"),
        pytest.param("api.openai.com\x00.evil.test", id="nul"),
        pytest.param("api.openai.com\r\nx", id="crlf"),
        pytest.param("api.openai.com\n", id="newline-at-end"),
        pytest.param(" api.openai.com", id="space"),
        pytest.param("api.openai.com/", id="slash"),
        pytest.param("api.openai.com\\evil", id="backslash"),
        pytest.param("api.openai.com?x", id="query"),
        pytest.param("api.openai.com#x", id="fragment"),
        pytest.param("-api.openai.com", id="leading-hyphen"),
        pytest.param("a" * 64 + ".com", id="long-label"),
        pytest.param("a." * 200 + "com", id="long-name"),
        pytest.param("a" * 100_000, id="huge"),
        pytest.param("api.openai.com:99999", id="port-too-high"),
        pytest.param("api.openai.com:0", id="port-zero"),
        pytest.param("api.openai.com:\uff14\uff14\uff13", id="port-fullwidth"),
        pytest.param("api.openai.com:443x", id="port-text"),
        pytest.param("[::1", id="open-bracket"),
        pytest.param("[::1]443", id="no-colon-before-port"),
        pytest.param("[api.openai.com]", id="name-in-brackets"),
        pytest.param("fe80::1%eth0", id="zone"),
        pytest.param("256.256.256.256", id="no-address-ends-in-number"),
        pytest.param("api.0x7f", id="no-address-ends-in-hex"),
        pytest.param("api.openai.com\u200b", id="zero-width-is-dropped-or-refused"),
    ],
)
def test_odd_hosts_are_refused_or_harmless(raw: str) -> None:
    if raw.endswith("\u200b"):  # IDNA maps it to nothing, as the resolver does
        assert canonical_host(raw) == "api.openai.com"
        return
    with pytest.raises(BadHost) as caught:
        canonical_host(raw)
    assert len(raw) < 8 or raw not in str(caught.value)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60))
def test_any_text_gives_a_stable_plain_host_or_bad_host(raw: str) -> None:
    try:
        host = canonical_host(raw)
    except BadHost:
        return
    assert re.fullmatch(r"[a-z0-9_.:-]+", host)
    assert canonical_host(host) == host
