import asyncio
import socket
from collections.abc import AsyncIterator, Sequence

import pytest

from llmtrace.addons.dialing import DestinationForbidden, Dialer, Resolve, resolve


def fixed(*addresses: str) -> Resolve:
    async def lookup(_host: str, _port: int) -> Sequence[str]:
        return addresses

    return lookup


def no_private(_host: str, _port: int, address: str) -> str | None:
    return "private" if address.startswith("10.") else None


@pytest.fixture
async def port() -> AsyncIterator[int]:
    server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def test_connects_to_the_checked_address(port: int) -> None:
    dial = Dialer(refuses=no_private, resolve=fixed("127.0.0.1"))
    _, writer = await dial("api.openai.com", port)
    assert writer.get_extra_info("peername") == ("127.0.0.1", port)
    writer.close()


async def test_next_address_is_tried_when_one_does_not_accept(port: int) -> None:
    dial = Dialer(refuses=no_private, resolve=fixed("127.0.0.9", "127.0.0.1"))
    _, writer = await dial("api.openai.com", port)
    assert writer.get_extra_info("peername") == ("127.0.0.1", port)
    writer.close()


@pytest.mark.parametrize("order", [("10.0.0.1", "127.0.0.1"), ("127.0.0.1", "10.0.0.1")])
async def test_one_forbidden_address_forbids_the_name(port: int, order: tuple[str, str]) -> None:
    counted: list[str] = []
    dial = Dialer(refuses=no_private, resolve=fixed(*order), count=counted.append)
    with pytest.raises(DestinationForbidden, match="leads to a private address"):
        await dial("evil.test", port)
    assert counted == ["destination_forbidden"]


async def test_name_without_address_is_told() -> None:
    with pytest.raises(OSError, match=r"nobody.test has no address"):
        await Dialer(refuses=no_private, resolve=fixed())("nobody.test", 443)


async def test_name_that_cannot_be_resolved_is_told_apart() -> None:
    async def unknown(_host: str, _port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(OSError, match=r"^name_unresolved: nobody\.test: Name or service"):
        await Dialer(refuses=no_private, resolve=unknown)("nobody.test", 443)


async def test_host_that_does_not_accept_is_named() -> None:
    dial = Dialer(refuses=no_private, resolve=fixed("127.0.0.1"))
    with pytest.raises(OSError, match=r"cannot connect to api\.openai\.com:1"):
        await dial("api.openai.com", 1)


async def test_system_resolver_is_asked() -> None:
    assert list(await resolve("127.0.0.1", 443)) == ["127.0.0.1"]
