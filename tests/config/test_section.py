import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from llmtrace.config.section import Address, Network, Section, clash, parse_address, place_of


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8642", "127.0.0.1", 8642),
        ("localhost:0", "localhost", 0),
        ("gateway_1.internal:65535", "gateway_1.internal", 65535),
        ("[::1]:8642", "::1", 8642),
        ("[0:0::1]:80", "::1", 80),
        ("10.0.0.1:080", "10.0.0.1", 80),
    ],
)
def test_addresses_are_read(text: str, host: str, port: int) -> None:
    assert parse_address(text) == Address(host, port)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("", "not host:port", id="empty"),
        pytest.param("127.0.0.1", "not host:port", id="no-port"),
        pytest.param("8642", "not host:port", id="port-alone"),
        pytest.param("127.0.0.1:", "not host:port", id="port-empty"),
        pytest.param("127.0.0.1:65536", "not host:port", id="port-too-high"),
        pytest.param("127.0.0.1:-1", "not host:port", id="port-negative"),
        pytest.param("127.0.0.1:" + "9" * 5000, "not host:port", id="port-endless"),
        pytest.param("127.0.0.1:\u0661", "not host:port", id="port-in-other-digits"),
        pytest.param("127.0.0.1:80 ", "not host:port", id="port-with-space"),
        pytest.param(":8642", "127.0.0.1:8642, or 0.0.0.0:8642 for all", id="no-host"),
        pytest.param("::1:8642", r"\[::1\]:8642", id="ipv6-without-brackets"),
        pytest.param("[::g]:80", "no IPv6 address in its brackets", id="ipv6-misspelt"),
        pytest.param("[]:80", "no IPv6 address in its brackets", id="ipv6-empty"),
        pytest.param("[127.0.0.1]:80", "no IPv6 address", id="ipv4-in-brackets"),
        pytest.param("http://127.0.0.1:80", "not host:port, such as", id="url"),
        pytest.param("user@host:80", "not host:port, such as", id="userinfo"),
        pytest.param("a b:80", "not host:port, such as", id="space-in-host"),
    ],
)
def test_what_is_no_address_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_address(text)


@given(st.text(max_size=30))
def test_what_is_read_is_written_as_it_is_read(text: str) -> None:
    try:
        address = parse_address(text)
    except ValueError:
        return
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        pytest.param("127.0.0.1:1", "127.0.0.1:1", True, id="same"),
        pytest.param("localhost:1", "127.0.0.1:1", True, id="same-by-name"),
        pytest.param("127.0.0.1:1", "0.0.0.0:1", True, id="all-addresses"),
        pytest.param("[::]:1", "10.0.0.1:1", True, id="all-addresses-ipv6"),
        pytest.param("127.0.0.1:1", "127.0.0.1:2", False, id="other-port"),
        pytest.param("127.0.0.1:1", "[::1]:1", False, id="other-host"),
        pytest.param("127.0.0.1:0", "127.0.0.1:0", False, id="free-ports"),
    ],
)
def test_addresses_clash(one: str, other: str, expected: bool) -> None:
    assert clash(one, other) is clash(other, one) is expected


def test_a_section_is_closed_and_frozen() -> None:
    class Door(Section):
        width: int = 1

    with pytest.raises(ValidationError, match="Extra inputs"):
        Door.model_validate({"widht": 2})
    with pytest.raises(ValidationError, match="frozen"):
        setattr(Door(), "width", 3)  # noqa: B010  the types forbid it as well


@pytest.mark.parametrize("text", ["10.0.0.1/8", "10.0.0.0/33", "host", ""])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Network).validate_python(text)


def test_networks_are_written_in_one_form() -> None:
    assert TypeAdapter(Network).validate_python("FD00::0/8") == "fd00::/8"
    assert TypeAdapter(Network).validate_python("10.1.2.3") == "10.1.2.3/32"


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("redis://user:pw@Cache.example:7000/3", ("cache.example", 7000)),
        ("rediss://localhost", ("127.0.0.1", 6379)),
        ("unix:///run/redis.sock?db=2", ("", "/run/redis.sock")),
        ("redis://[::1]:6380", ("::1", 6380)),
        ("redis://", ("127.0.0.1", 6379)),
        ("redis://:pass/word@host:6379", ("", "redis://:pass/word@host:6379")),
    ],
)
def test_a_server_is_told_whatever_the_database(url: str, place: tuple[str, int | str]) -> None:
    assert place_of(url) == place
