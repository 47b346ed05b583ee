import asyncio
import socket

import pytest

from llmtrace.addons.limits import Limits
from llmtrace.addons.listening import Caps, Listen, Listeners, bind, inherit


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, mode: str) -> None:
    sock = writer.get_extra_info("socket")
    nodelay = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    writer.write(f"{mode} {nodelay}\n".encode() + await reader.readline())
    await writer.drain()
    writer.close()


async def say(port: int, text: bytes = b"hello\n") -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(text)
        return await asyncio.wait_for(reader.read(), 5)
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_each_address_serves_its_own_mode_without_delay() -> None:
    listens = [Listen(mode="regular"), Listen(mode="reverse:https://llmtrace.invalid")]
    listeners = Listeners(listens=listens, serve=echo)
    await listeners.start()
    answers = [await say(bound.port) for bound in listeners.bound]
    assert answers == [b"regular 1\nhello\n", b"reverse:https://llmtrace.invalid 1\nhello\n"]
    listeners.close()


async def test_two_listeners_share_a_port() -> None:
    first = Listeners(listens=[Listen(mode="regular")], serve=echo, reuse_port=True)
    await first.start()
    same = Listen(mode="regular", port=first.bound[0].port)
    second = Listeners(listens=[same], serve=echo, reuse_port=True)
    await second.start()
    first.close()
    assert (await say(same.port)).startswith(b"regular")
    second.close()


async def test_inherited_socket_has_no_delay_even_if_made_without_a_protocol() -> None:
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.bind(("127.0.0.1", 0))
    listeners = Listeners(listens=[Listen(mode="regular", fd=made.detach())], serve=echo)
    await listeners.start()
    assert await say(listeners.bound[0].port) == b"regular 1\nhello\n"
    listeners.close()


def test_inherit_keeps_the_family() -> None:
    made = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    with inherit(made.detach()) as sock:
        assert (sock.family, sock.proto) == (socket.AF_INET6, socket.IPPROTO_TCP)


def test_taken_address_is_told_and_nothing_stays_bound() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port} .*choose another"):
            bind(Listen(mode="regular", port=port), reuse_port=False)


async def test_failed_start_frees_the_addresses_before_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = bind(Listen(mode="regular"), reuse_port=False)[0]
        port = free.getsockname()[1]
        free.close()
        listens = [
            Listen(mode="regular", port=port),
            Listen(mode="regular", port=taken.getsockname()[1]),
        ]
        with pytest.raises(OSError, match="cannot listen"):
            await Listeners(listens=listens, serve=echo).start()
        bind(listens[0], reuse_port=False)[0].close()


@pytest.mark.parametrize(
    ("limits", "met"),
    [
        pytest.param(Limits(connections_per_ip=1), "connections_per_ip", id="per-ip"),
        pytest.param(Limits(connections_total=1), "connections_total", id="total"),
    ],
)
async def test_connection_over_a_cap_is_closed_and_counted(limits: Limits, met: str) -> None:
    counted: list[str] = []
    listeners = Listeners(
        listens=[Listen(mode="regular")], serve=echo, limits=limits, count=counted.append
    )
    await listeners.start()
    port = listeners.bound[0].port
    _, held = await asyncio.open_connection("127.0.0.1", port)
    assert await say(port) == b""
    assert counted == [met]
    held.write(b"done\n")
    held.close()
    await held.wait_closed()
    await asyncio.sleep(0.05)
    assert await say(port)
    listeners.close()


def test_caps_forget_addresses_without_connections() -> None:
    caps = Caps(Limits())
    assert caps.admit("192.0.2.1") is None
    caps.release("192.0.2.1")
    assert caps.open == 0


async def test_connection_that_raises_leaves_the_others_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(_r: asyncio.StreamReader, _w: asyncio.StreamWriter, _mode: str) -> None:
        raise ValueError("broken")

    listeners = Listeners(listens=[Listen(mode="regular")], serve=fail)
    await listeners.start()
    for _ in range(2):
        assert await say(listeners.bound[0].port) == b""
    assert "ended with an error" in caplog.text
    listeners.close()
