import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import Any

import pytest
from mitmproxy import http

from llmtrace.addons.connections import Streams
from llmtrace.addons.dialing import Dialer
from llmtrace.addons.tunnels import HostPolicy, Traffic, TunnelLedger
from llmtrace.providers.hosts import HostDecision, HostTable
from llmtrace.testing.dataplane import PROVIDER, Gateway, Upstream, read_all, read_answer

CALL = f"GET /v1/x HTTP/1.1\r\nHost: {PROVIDER}\r\n\r\n".encode()
OTHER = "www.example.org"


class Seen:
    def __init__(self) -> None:
        self.requests = 0

    def request(self, flow: http.HTTPFlow) -> None:
        self.requests += flow.response is None


type Run = Callable[..., Any]


@pytest.fixture
def run(gateway: Any) -> Run:
    """Start a gateway with a host policy, every name leading to one provider."""

    async def start(to: Upstream | None = None, *addons: object, **rules: Any) -> Gateway:
        counted: dict[str, int] = {}
        rules.setdefault("hosts", HostTable())

        def count(name: str) -> None:
            counted[name] = counted.get(name, 0) + 1

        policy = HostPolicy(count=count, **rules)
        gw: Gateway = await gateway(
            addons=[policy, *addons], to=to, may_mint=policy.may_mint, relayed=policy.ledger.relayed
        )
        gw.policy, gw.counted = policy, counted  # type: ignore[attr-defined]  # for the test alone
        return gw

    return start


def status_of(head: bytes) -> int:
    return int(head.split(b" ", 2)[1])


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        pytest.param("www.example.org:25", "port_forbidden", id="smtp"),
        pytest.param("www.example.org:22", "port_forbidden", id="ssh"),
        pytest.param("www.example.org:6379", "port_forbidden", id="redis"),
        pytest.param("localhost:443", "destination_forbidden", id="localhost"),
        pytest.param("127.1:443", "destination_forbidden", id="short-loopback"),
        pytest.param("2130706433:443", "destination_forbidden", id="decimal-loopback"),
        pytest.param("0.0.0.0:443", "destination_forbidden", id="unspecified"),
        pytest.param("[::ffff:127.0.0.1]:443", "destination_forbidden", id="mapped-loopback"),
        pytest.param("0x7f.1:443", "destination_forbidden", id="hex-loopback"),
        pytest.param("[::1]:443", "destination_forbidden", id="ipv6-loopback"),
        pytest.param("169.254.169.254:443", "destination_forbidden", id="metadata"),
        pytest.param("metadata.google.internal:443", "destination_forbidden", id="metadata-name"),
        pytest.param("100.64.0.1:443", "destination_forbidden", id="cgnat"),
        pytest.param("[2002:a9fe:a9fe::]:443", "destination_forbidden", id="6to4"),
        pytest.param("[64:ff9b::a9fe:a9fe]:443", "destination_forbidden", id="nat64"),
        pytest.param("[fd00:ec2::254]:443", "destination_forbidden", id="metadata-ipv6"),
        pytest.param("10.0.0.1:443", "destination_forbidden", id="private"),
        pytest.param("[::]:443", "destination_forbidden", id="ipv6-unspecified"),
    ],
)
async def test_tunnel_that_may_not_be_is_403_before_anything_is_sent(
    run: Run, target: str, reason: str
) -> None:
    gw = await run()
    head, (reader, _) = await gw.tunnel(target)
    assert status_of(head) == 403
    assert reason.encode() in await reader.read(500)
    assert gw.counted == {reason: 1}


@pytest.mark.parametrize(
    "host", ["API.OpenAI.COM", "api.openai.com.", "api.openai.com"], ids=["case", "dot", "plain"]
)
async def test_provider_is_read_under_every_spelling(run: Run, upstream: Any, host: str) -> None:
    seen, provider = Seen(), await upstream(tls=True)
    gw = await run(provider, seen)
    _, (reader, writer) = await gw.tunnel(f"{host}:443")
    await writer.start_tls(gw.client_context(), server_hostname=PROVIDER)
    writer.write(CALL)
    assert (await read_answer(reader)).endswith(b"ok")
    assert seen.requests == 1
    assert gw.policy.ledger.snapshot() == {}


async def test_other_host_is_tunnelled_unread_and_counted(
    run: Run, upstream: Any, provider_ca: Any
) -> None:
    seen, other = Seen(), await upstream(tls=True)
    gw = await run(other, seen)
    _, (reader, writer) = await gw.tunnel(f"{OTHER}:443")
    context = ssl.create_default_context(cadata=provider_ca.pem.decode())
    await writer.start_tls(context, server_hostname=OTHER)
    writer.write(CALL)
    assert (await read_answer(reader)).endswith(b"ok")
    assert seen.requests == 0
    assert len(other.requests) == 1
    traffic = gw.policy.ledger.snapshot()[OTHER]
    assert traffic.connections == 1
    assert traffic.up > 200
    assert traffic.down > 200


@pytest.mark.parametrize(
    ("connect", "sni"),
    [
        pytest.param(OTHER, PROVIDER, id="other-connect-provider-sni"),
        pytest.param(PROVIDER, OTHER, id="provider-connect-other-sni"),
        pytest.param(PROVIDER, "api.anthropic.com", id="two-providers"),
        pytest.param(OTHER, "www.example.com", id="two-others"),
    ],
)
async def test_names_that_disagree_are_refused(
    run: Run, upstream: Any, caplog: pytest.LogCaptureFixture, connect: str, sni: str
) -> None:
    provider = await upstream(tls=True)
    gw = await run(provider)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await gw.tls(host=connect, sni=sni)
    assert gw.counted == {"authority_mismatch": 1}
    assert provider.connections == 0
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]


async def test_address_with_a_providers_sni_is_read(run: Run, upstream: Any) -> None:
    seen = Seen()
    gw = await run(await upstream(tls=True), seen)
    reader, writer = await gw.tls("http/1.1", host="8.8.8.8", sni=PROVIDER)
    writer.write(CALL)
    assert (await read_answer(reader)).endswith(b"ok")
    assert seen.requests == 1


async def test_bytes_to_a_provider_that_are_no_tls_are_closed(run: Run, upstream: Any) -> None:
    provider = await upstream(tls=True)
    gw = await run(provider)
    for first in (b"\x00\x01\x02\x03\x04", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"SSH-2.0-x\r\n"):
        head, (reader, writer) = await gw.tunnel()
        assert status_of(head) == 200
        writer.write(first)
        assert await asyncio.wait_for(read_all(reader), 5) == b""
    assert gw.counted == {"tunnel_not_tls": 3}
    assert provider.connections == 0


async def test_greeting_cut_at_its_first_byte_is_still_read(run: Run, upstream: Any) -> None:
    seen = Seen()
    gw = await run(await upstream(tls=True), seen)
    _, (reader, writer) = await gw.tunnel()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = gw.client_context().wrap_bio(incoming, outgoing, server_hostname=PROVIDER)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    for byte in outgoing.read():
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0)
    incoming.write(await asyncio.wait_for(reader.read(65536), 5))
    tls.do_handshake()
    assert gw.counted == {}


async def test_raw_tunnel_to_another_host_is_relayed(run: Run) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"echo " + await reader.readline())
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    other = Upstream(lambda *_: asyncio.sleep(0))
    other.port = server.sockets[0].getsockname()[1]
    gw = await run(other)
    _, (reader, writer) = await gw.tunnel(f"{OTHER}:443")
    writer.write(b"SSH-2.0-x\n")
    assert await asyncio.wait_for(read_all(reader), 5) == b"echo SSH-2.0-x\n"
    assert gw.policy.ledger.snapshot()[OTHER] == Traffic(connections=1, up=10, down=15)
    server.close()


@pytest.mark.parametrize("egress", ["tunnel", "deny"])
async def test_plain_request_to_another_host(run: Run, upstream: Any, egress: str) -> None:
    other = await upstream()
    gw = await run(other, egress=egress)
    reader, writer = await gw.connect()
    writer.write(f"GET http://{OTHER}/ HTTP/1.1\r\nHost: {OTHER}\r\n\r\n".encode())
    answer = await read_answer(reader)
    assert status_of(answer) == (200 if egress == "tunnel" else 403)
    assert len(other.requests) == (egress == "tunnel")


async def test_plain_request_to_our_own_interface_is_403(run: Run) -> None:
    gw = await run()
    answer = await gw.ask(
        b"GET http://127.0.0.1:8644/health HTTP/1.1\r\nHost: 127.0.0.1:8644\r\n"
        b"Connection: close\r\n\r\n"
    )
    assert status_of(answer) == 403


async def test_egress_deny_refuses_other_hosts_and_lets_providers_through(
    run: Run, upstream: Any
) -> None:
    gw = await run(await upstream(tls=True), egress="deny")
    head, _ = await gw.tunnel(f"{OTHER}:443")
    assert status_of(head) == 403
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await gw.tls(host="8.8.8.8", sni=OTHER)
    reader, writer = await gw.tls("http/1.1")
    writer.write(CALL)
    assert (await read_answer(reader)).endswith(b"ok")
    assert gw.counted == {"egress_denied": 2}


async def test_excluded_provider_is_left_unread(run: Run, upstream: Any, provider_ca: Any) -> None:
    seen = Seen()
    gw = await run(await upstream(tls=True), seen, excluded=lambda host: host == PROVIDER)
    _, (reader, writer) = await gw.tunnel()
    context = ssl.create_default_context(cadata=provider_ca.pem.decode())
    await writer.start_tls(context, server_hostname=PROVIDER)
    writer.write(CALL)
    assert (await read_answer(reader)).endswith(b"ok")
    assert seen.requests == 0


async def test_alt_svc_is_taken_out_of_answers(run: Run, upstream: Any) -> None:
    async def offer(writer: asyncio.StreamWriter, _head: bytes, _body: bytes) -> None:
        writer.write(b'HTTP/1.1 200 OK\r\nAlt-Svc: h3=":443"\r\nContent-Length: 2\r\n\r\nok')

    gw = await run(await upstream(offer, tls=True))
    reader, writer = await gw.tls("http/1.1")
    writer.write(CALL)
    assert b"alt-svc" not in (await read_answer(reader)).lower()


class BrokenHosts:
    def classify(self, **_said: object) -> HostDecision:
        raise RecursionError

    def provider_of(self, host: str, port: int = 443) -> str | None:
        if host == "boom.example.org":
            raise MemoryError
        return None


async def test_rule_that_fails_refuses(
    run: Run, upstream: Any, caplog: pytest.LogCaptureFixture
) -> None:
    provider = await upstream(tls=True)
    gw = await run(provider, hosts=BrokenHosts())
    head, _ = await gw.tunnel("boom.example.org:443")
    assert status_of(head) == 503
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await gw.tls(host=OTHER)
    assert gw.counted == {"policy_failed": 2}
    assert provider.connections == 0
    assert "RecursionError" in caplog.text


POLICY_CASES = [
    pytest.param("api.openai.com", 443, "104.18.6.1", None, id="public"),
    pytest.param("api.openai.com", 443, "10.1.2.3", None, id="provider-by-private-link"),
    pytest.param("api.openai.com", 443, "127.0.0.1", "loopback", id="provider-at-loopback"),
    pytest.param("api.openai.com", 443, "169.254.169.254", "metadata", id="provider-at-metadata"),
    pytest.param(OTHER, 443, "10.1.2.3", "private", id="other-private"),
    pytest.param(OTHER, 443, "fe80::1%eth0", "link_local", id="zone"),
    pytest.param("llm.corp", 8000, "10.1.2.3", None, id="named-by-the-configuration"),
    pytest.param("llm.corp", 8642, "127.0.0.1", "gateway's own", id="own-listener"),
]


@pytest.mark.parametrize(("host", "port", "address", "reason"), POLICY_CASES)
def test_addresses(host: str, port: int, address: str, reason: str | None) -> None:
    policy = HostPolicy(
        hosts=HostTable(), trusted=lambda name, _: name == "llm.corp", own_ports=lambda: [8642]
    )
    assert policy.refuses(host, port, address) == reason


@pytest.mark.parametrize(
    ("name", "may"),
    [
        (PROVIDER, True),
        ("API.OPENAI.COM.", True),
        (OTHER, False),
        ("api.openai.com.evil.test", False),
        ("127.0.0.1", False),
        ("a b", False),
    ],
)
def test_certificates_are_made_for_providers_alone(name: str, may: bool) -> None:
    assert HostPolicy(hosts=HostTable()).may_mint(name) is may


def test_ledger_is_bounded() -> None:
    ledger = TunnelLedger()
    for n in range(1500):
        ledger.opened(f"h{n}.example.org")
        ledger.relayed(f"h{n}.example.org", 1, 2)
    snapshot = ledger.snapshot()
    assert len(snapshot) == 1001
    assert snapshot["other"] == Traffic(connections=500, up=500, down=1000)


async def test_checked_address_is_pinned_and_connections_are_reused(
    gateway: Any, upstream: Any
) -> None:
    provider = await upstream(tls=True)
    asked: list[str] = []
    policy = HostPolicy(hosts=HostTable(), trusted=lambda host, _: host == PROVIDER)

    async def resolve(host: str, _port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    class ToProvider(Dialer):
        async def __call__(self, host: str, port: int) -> Streams:
            await self._resolve(host, port)
            return await super().__call__(host, provider.port)

    gw = await gateway(addons=[policy], dial=ToProvider(refuses=policy.refuses, resolve=resolve))
    reader, writer = await gw.tls("http/1.1")
    for _ in range(12):
        writer.write(CALL)
        assert (await asyncio.wait_for(read_answer(reader), 5)).endswith(b"ok")
    assert provider.connections == 1
