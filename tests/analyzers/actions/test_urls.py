"""Addresses that an agent should not reach."""

from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.analyzers.actions.urls import (
    is_drop,
    is_installer,
    is_work_host,
    rules_of,
    to_address,
    urls_in,
)


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("http://203.0.113.5/x", "url.raw_ip"),
        ("http://[2001:db8::1]/", "url.raw_ip"),
        ("http://user@203.0.113.5:8080/x", "url.raw_ip"),
        ("http://169.254.169.254/latest/meta-data/", "url.metadata"),
        ("http://[fd00:ec2::254]/", "url.metadata"),
        ("http://[::ffff:169.254.169.254]/", "url.metadata"),
        ("http://[::ffff:a9fe:a9fe]/", "url.metadata"),
        ("http://[64:ff9b::a9fe:a9fe]/", "url.metadata"),
        ("http://2852039166/", "url.metadata"),
        ("http://0xa9fea9fe/", "url.metadata"),
        ("http://0251.0376.0251.0376/", "url.metadata"),
        ("http://169.254.43518/", "url.metadata"),
        ("http://169.254.169.254.nip.io/", "url.metadata"),
        ("http://metadata.google.internal./x", "url.metadata"),
        ("http://METADATA.google.internal/x", "url.metadata"),
        ("http://metadata/computeMetadata/v1/", "url.metadata"),
        ("http://\uff13.3.3.3/", "url.raw_ip"),
        ("http://%31%36%39.254.169.254/", "url.metadata"),
        ("http://2130706433/", "url.encoded_ip"),
        ("http://0x7f.1/", "url.encoded_ip"),
        ("http://0/", "url.encoded_ip"),
        ("https://pastebin.com/raw/x", "url.paste"),
        ("https://a.pastebin.com/raw/x", "url.paste"),
        ("https://transfer.sh/x", "url.file_drop"),
        ("https://discord.com/api/webhooks/1/x", "url.file_drop"),
        ("https://webhook.site/x", "url.request_bin"),
        ("https://x.ngrok-free.app/", "url.tunnel"),
        ("https://bit.ly/x", "url.shortener"),
        ("http://abc.onion/", "url.onion"),
        ("https://api.github.com@evil.example/", "url.userinfo"),
        ("https://github.com:x@evil.example/", "url.userinfo"),
        ("http:\\\\203.0.113.5\\x", "url.raw_ip"),
        ("https://a.example/?q=" + "ghp_" + "a" * 36, "url.secret_in_query"),
        ("https://a.example/?q=" + "%67hp_" + "a" * 36, "url.secret_in_query"),
    ],
)
def test_found(url: str, rule: str) -> None:
    assert list(rules_of(url)) == [rule]


@pytest.mark.parametrize(
    "url",
    [
        "https://docs.python.org/3/",
        "http://localhost:3000/",
        "http://app.localhost:3000/",
        "http://127.0.0.1:8080/",
        "http://[::1]:3000/",
        "http://10.1.2.3/",
        "http://192.168.1.10/",
        "http://172.16.0.1/",
        "http://printer.local/",
        "https://1.1.1.1/dns-query",
        "https://user:pass@host.example/x",
        "https://notpastebin.com/",
        "https://pastebin.com.example/",
        "https://discord.com/channels/1",
        "https://metadata.example/",
        "https://s3.amazonaws.com/b?X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F2024",
        "",
        "http://",
        "not a url",
    ],
)
def test_ordinary(url: str) -> None:
    assert list(rules_of(url)) == []


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_any_spelling_of_an_address_is_that_address(number: int) -> None:
    a, b, c, d = number.to_bytes(4)
    spellings = [
        str(number),
        hex(number),
        f"0{number:o}",
        f"{a}.{number & 0xFFFFFF}",
        f"{a}.{b}.{c * 256 + d}",
    ]
    assert {to_address(one) for one in spellings} == {ip_address(number)}


@given(st.text(alphabet="htp:/\\@[]%.0123abxé?=&#", max_size=40))
@settings(max_examples=100, deadline=None)
def test_no_text_raises(text: str) -> None:
    list(rules_of(text))
    list(urls_in(text))


def test_installers_are_of_their_host_over_tls() -> None:
    assert is_installer("https://sh.rustup.rs")
    assert not is_installer("http://sh.rustup.rs")
    assert not is_installer("https://sh.rustup.rs.evil.example")
    assert not is_installer("https://x@sh.rustup.rs")


def test_work_hosts_and_drops() -> None:
    assert is_work_host("https://api.github.com/x")
    assert not is_work_host("https://github.com.evil.example/x")
    assert is_drop("http://203.0.113.5/")
    assert not is_drop("https://a.example/")


def test_addresses_in_prose() -> None:
    text = "see https://a.example/x, (http://b.example)."
    assert [text[a:b] for _, a, b in urls_in(text)] == ["https://a.example/x", "http://b.example"]
