# ruff: noqa: S104 - addresses to judge, none to bind
"""Every spelling of an address is an address, and none of them hides where it leads."""

import ipaddress
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.providers.addresses import (
    forbidden_address,
    forbidden_host,
    is_ip_literal,
    is_loopback,
    parse_address,
)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        pytest.param("127.0.0.1", "127.0.0.1", id="dotted"),
        pytest.param("127.1", "127.0.0.1", id="two-parts"),
        pytest.param("127.0.1", "127.0.0.1", id="three-parts"),
        pytest.param("2130706433", "127.0.0.1", id="one-number"),
        pytest.param("0x7f.1", "127.0.0.1", id="hex-part"),
        pytest.param("0x7F000001", "127.0.0.1", id="hex-number"),
        pytest.param("0X7f000001", "127.0.0.1", id="hex-upper-prefix"),
        pytest.param("0177.0.0.1", "127.0.0.1", id="octal-part"),
        pytest.param("017700000001", "127.0.0.1", id="octal-number"),
        pytest.param("0", "0.0.0.0", id="zero"),
        pytest.param("0.0.0.0", "0.0.0.0", id="unspecified"),
        pytest.param("::1", "::1", id="v6"),
        pytest.param("[::1]", "::1", id="v6-in-brackets"),
        pytest.param("[::ffff:127.0.0.1]", "::ffff:127.0.0.1", id="v6-mapped"),
    ],
)
def test_reads_every_spelling(text: str, address: str) -> None:
    assert parse_address(text) == ipaddress.ip_address(address)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost",
        "256.0.0.1",
        "1.2.3.4.5",
        "4294967296",
        "127.0.0.08",
        "1..2",
        "1_0.1",
        "fe80::1%eth0",
        "[::1",
        "0x",
        "٣.1",
        "1" * 5000,
    ],
    ids=str.__len__,
)
def test_reads_nothing_else(text: str) -> None:
    assert not is_ip_literal(text)


def test_leading_zeros_hide_nothing() -> None:
    assert parse_address("0" * 200 + "177.1") == ipaddress.ip_address("127.0.0.1")


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.lists(
            st.integers(0, 2**33).flatmap(
                lambda n: st.sampled_from([str(n), hex(n), f"0{n:o}", hex(n).upper()])
            ),
            min_size=1,
            max_size=5,
        ).map(".".join),
        st.text("0123456789abcdefxX.", max_size=20),
    )
)
def test_agrees_with_the_resolver_of_this_machine(text: str) -> None:
    try:
        packed: bytes | None = socket.inet_aton(text)
    except OSError:
        packed = None
    found = parse_address(text)
    assert (found.packed if found else None) == packed


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1", "loopback"),
        ("127.255.255.254", "loopback"),
        ("0.0.0.0", "unspecified"),
        ("0.1.2.3", "unspecified"),
        ("10.0.0.1", "private"),
        ("172.16.0.1", "private"),
        ("172.31.255.255", "private"),
        ("172.32.0.1", None),
        ("192.168.1.1", "private"),
        ("169.254.169.254", "metadata"),
        ("169.254.1.1", "link_local"),
        ("168.63.129.16", "metadata"),
        ("100.100.100.200", "metadata"),
        ("100.64.0.1", "cgnat"),
        ("100.127.255.255", "cgnat"),
        ("100.128.0.1", None),
        ("224.0.0.1", "multicast"),
        ("239.255.255.255", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "broadcast"),
        ("198.18.0.1", "reserved"),
        ("192.0.2.1", "documentation"),
        ("8.8.8.8", None),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("fd00:ec2::254", "metadata"),
        ("fd12::1", "private"),
        ("fe80::1", "link_local"),
        ("fe81::1", "link_local"),
        ("fec0::1", "private"),
        ("ff02::1", "multicast"),
        ("2001:db8::1", "documentation"),
        ("4000::1", "reserved"),
        ("2606:4700::1111", None),
        ("::ffff:127.0.0.1", "ipv4_mapped:loopback"),
        ("::ffff:8.8.8.8", None),
        ("::ffff:0:10.0.0.1", "ipv4_translated:private"),
        ("::127.0.0.1", "ipv4_compatible:loopback"),
        ("2002:a9fe:a9fe::", "6to4:metadata"),
        ("2002:7f00:1::", "6to4:loopback"),
        ("2002:808:808::", None),
        ("64:ff9b::a9fe:a9fe", "nat64:metadata"),
        ("64:ff9b::8.8.8.8", None),
        ("64:ff9b:1::1", "private"),
        ("2001:0:808:808:0:0:5601:5601", "teredo:metadata"),
        ("2001:0:7f00:1:0:0:f7f7:f7f7", "teredo:loopback"),
    ],
)
def test_says_why_an_address_is_forbidden(address: str, reason: str | None) -> None:
    assert forbidden_address(address) == reason


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("127.0.0.1", True),
        ("127.1", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("localhost.example", False),
    ],
)
def test_a_loopback_address_is_known(host: str, here: bool) -> None:
    assert is_loopback(host) is here


def test_an_address_that_is_none_is_an_error() -> None:
    with pytest.raises(ValueError, match="IP"):
        forbidden_address("localhost")


@settings(max_examples=200, deadline=None)
@given(st.ip_addresses(v=4))
def test_what_python_holds_for_private_is_forbidden(address: ipaddress.IPv4Address) -> None:
    if not address.is_global and not address.is_multicast:
        assert forbidden_address(address) is not None


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("localhost", "loopback"),
        ("a.localhost", "loopback"),
        ("metadata.google.internal", "metadata"),
        ("127.1", "loopback"),
        ("2130706433", "loopback"),
        ("::1", "loopback"),
        ("api.openai.com", None),
        ("notlocalhost", None),
    ],
)
def test_says_why_a_host_is_forbidden(host: str, reason: str | None) -> None:
    assert forbidden_host(host) == reason
