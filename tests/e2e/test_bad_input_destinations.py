"""Where a call goes, over real TLS: names that disagree, look-alikes, addresses, our own doors."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from llmtrace.domain.traces import Outcome
from llmtrace.testing.dataplane import Upstream, answer_ok, read_all
from llmtrace.testing.inprocess import Worker, running_worker
from llmtrace.testing.oracles import connect, post, tunnel
from llmtrace.testing.provider import ScriptedProvider

OPENAI, ANTHROPIC, EVIL = "api.openai.com", "api.anthropic.com", "evil.test"
PATH = "/v1/chat/completions"
BODY = b'{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}'


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


@pytest.fixture
async def worker(provider: ScriptedProvider, tmp_path: Path) -> AsyncIterator[Worker]:
    provider.clear()
    async with running_worker(tmp_path, provider) as running:
        yield running


async def call(worker: Worker, target: str, sni: str, host: str, path: str = PATH) -> bytes:
    """Return the answer to a call; nothing where the tunnel or its TLS was refused."""
    try:
        reader, writer = await asyncio.wait_for(tunnel(worker, target, sni=sni), 5)
    except (OSError, ssl.SSLError, asyncio.IncompleteReadError):
        return b""
    writer.write(post(path, BODY, host=host))
    try:
        async with asyncio.timeout(5):
            return await read_all(reader)
    finally:
        writer.transport.abort()


DISAGREEMENTS = [
    (OPENAI, OPENAI, EVIL),
    (OPENAI, ANTHROPIC, OPENAI),
    (OPENAI, ANTHROPIC, ANTHROPIC),
    (OPENAI, OPENAI, ANTHROPIC),
    (EVIL, OPENAI, OPENAI),
    (EVIL, EVIL, OPENAI),
    (OPENAI, EVIL, OPENAI),
    (OPENAI, EVIL, EVIL),
    ("93.184.216.34", OPENAI, ANTHROPIC),
    (OPENAI, OPENAI, "127.0.0.1"),
    (OPENAI, OPENAI, f"{OPENAI}.{EVIL}"),
    (OPENAI, OPENAI, f"{OPENAI}:8443"),
]


@pytest.mark.parametrize(("target", "sni", "host"), DISAGREEMENTS)
async def test_names_that_disagree_reach_nobody(
    worker: Worker, target: str, sni: str, host: str
) -> None:
    answer = await call(worker, target, sni, host)
    assert answer[:12] in (b"", b"HTTP/1.1 400", b"HTTP/1.1 403", b"HTTP/1.1 421")
    assert (worker.provider.calls, worker.journal.begun) == ([], [])


@pytest.mark.parametrize(
    ("target", "sni", "host"),
    [
        (OPENAI, OPENAI, OPENAI),
        ("API.OpenAI.com", "API.OPENAI.COM", "Api.Openai.Com"),
        (OPENAI, OPENAI, f"{OPENAI}:443"),
        (f"{OPENAI}.", OPENAI, f"{OPENAI}."),
        ("93.184.216.34", OPENAI, OPENAI),
    ],
    ids=["plain", "capitals", "port", "trailing-dot", "address-with-a-providers-name"],
)
async def test_every_spelling_of_a_provider_is_read(
    worker: Worker, target: str, sni: str, host: str
) -> None:
    assert (await call(worker, target, sni, host)).startswith(b"HTTP/1.1 200")
    assert (await worker.journal.trace()).host == OPENAI


OWN = ["localhost", "127.0.0.1", "127.1", "2130706433", "0x7f.1", "0.0.0.0", "[::1]", "[::]"]  # noqa: S104  # asked for, not bound
OWN += ["[::ffff:127.0.0.1]", "017700000001", "127.0.0.1.", "LOCALHOST", "[::ffff:7f00:1]"]
INNER = ["169.254.169.254", "[fd00:ec2::254]", "metadata.google.internal", "100.64.0.1"]
INNER += ["[2002:a9fe:a9fe::]", "[64:ff9b::a9fe:a9fe]", "[fe81::1]", "10.0.0.1", "192.168.1.1"]


@pytest.mark.parametrize("host", [*OWN, *INNER])
async def test_no_tunnel_leads_inside(worker: Worker, host: str) -> None:
    for port in (443, 80, 22, worker.forward):
        reader, writer = await asyncio.open_connection("127.0.0.1", worker.forward)
        writer.write(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        assert head.split(b" ")[1] in (b"400", b"403"), (port, head)
        writer.transport.abort()


@pytest.mark.parametrize("host", OWN)
async def test_no_plain_request_leads_inside(worker: Worker, host: str) -> None:
    inside = Upstream(answer_ok)
    await inside.start()
    for port in (inside.port, worker.forward, worker.reverse):
        _, (reader, writer) = await connect(worker.forward)
        url = f"http://{host}:{port}/health"
        writer.write(f"GET {url} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        assert head.split(b" ")[1] in (b"400", b"403"), (port, head)
        writer.transport.abort()
    assert inside.connections == 0
    await inside.stop()


@pytest.mark.parametrize("port", [22, 25, 6379, 80, 8443, 65535])
async def test_no_tunnel_leads_to_another_port(worker: Worker, port: int) -> None:
    head, (_, writer) = await connect(worker.forward, f"example.com:{port}")
    assert head.startswith(b"HTTP/1.1 403")
    writer.transport.abort()


@pytest.mark.parametrize(
    "data", [b"\x00\x01\x02\x03", b"SSH-2.0-x\r\n", post(PATH, BODY)], ids=["raw", "ssh", "http"]
)
async def test_what_is_no_tls_in_a_providers_tunnel_is_closed(worker: Worker, data: bytes) -> None:
    head, (reader, writer) = await connect(worker.forward, f"{OPENAI}:443")
    assert b"200" in head
    writer.write(data)
    async with asyncio.timeout(5):
        assert await read_all(reader) == b""
    assert worker.provider.calls == []
    writer.transport.abort()


@pytest.mark.parametrize(
    "host", [f"{OPENAI}.{EVIL}", "api.openai.com-x.test", "xn--pi-openai-7za.com"]
)
async def test_a_lookalike_is_nobody_we_read(worker: Worker, host: str) -> None:
    """It is a stranger: its tunnel is passed on unread, and this test's resolver knows nobody."""
    answer = await call(worker, host, host, host)
    assert not answer.startswith(b"HTTP/1.1 200")
    assert (worker.provider.calls, worker.journal.begun) == ([], [])


# --- what else may lead astray -------------------------------------------------------------------

MORE_INSIDE = ["[fe81::1]", "[::]", "[2001:0:53aa:64c:0:0:5601:5601]", "[::ffff:10.0.0.1]"]
MORE_INSIDE += ["[::ffff:a9fe:a9fe]", "0251.0376.0251.0376", "100.127.255.254", "198.18.0.1"]
MORE_INSIDE += [
    "[ff02::1]",
    "224.0.0.1",
    "255.255.255.255",
    "[fc00::1]",
    "instance-data.ec2.internal",
]


@pytest.mark.parametrize("host", MORE_INSIDE)
async def test_no_address_that_hides_another_is_reached(worker: Worker, host: str) -> None:
    head, (_, writer) = await connect(worker.forward, f"{host}:443")
    assert head.split(b" ")[1] in (b"400", b"403"), head
    writer.transport.abort()


class Resolver:
    """Answers with one address after the other, and notes who was asked for."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = [*addresses]
        self.asked: list[str] = []

    async def __call__(self, host: str, _port: int) -> list[str]:
        self.asked.append(host)
        return [self.addresses.pop(0)]


@pytest.mark.parametrize("inside", ["127.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1"])
async def test_a_providers_name_that_leads_inside_is_refused_in_its_shape(
    provider: ScriptedProvider, tmp_path: Path, inside: str
) -> None:
    """The address that is judged is the one that is connected to: the name is asked for once."""
    resolver = Resolver(inside, "192.0.2.1")
    async with running_worker(tmp_path, provider, upstreams={}) as worker:
        vars(worker.master._dial)["_resolve"] = resolver
        answer = await call(worker, OPENAI, OPENAI, OPENAI)
        assert answer.startswith(b"HTTP/1.1 403")
        assert b"destination_forbidden" in answer
        assert (await worker.journal.trace()).outcome is Outcome.CONNECT_FAILED
    assert resolver.asked == [OPENAI]


@pytest.mark.parametrize(
    ("host", "status"),
    [("%61pi.openai.com", 400), ("api.openai.com%00", 400), ("api.openai.com.evil.test", 403)],
)
async def test_no_escape_makes_a_host_a_provider(worker: Worker, host: str, status: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", worker.forward)
    target = f"http://{host}:8080{PATH}"
    writer.write(f"GET {target} HTTP/1.1\r\nHost: {host}:8080\r\n\r\n".encode())
    async with asyncio.timeout(5):
        head = await reader.readuntil(b"\r\n\r\n")
    assert head.split(b" ")[1] == str(status).encode()
    assert (worker.provider.calls, worker.journal.begun) == ([], [])
    writer.transport.abort()


async def test_a_greeting_without_a_name_is_read_by_where_its_tunnel_leads(worker: Worker) -> None:
    _, (reader, writer) = await connect(worker.forward, f"{OPENAI}:443")
    context = worker.client_context()
    context.check_hostname = False
    await writer.start_tls(context)
    writer.write(post(PATH, BODY, host=OPENAI))
    async with asyncio.timeout(5):
        assert (await read_all(reader)).startswith(b"HTTP/1.1 200")
    assert (await worker.journal.trace()).host == OPENAI
    writer.transport.abort()


async def test_a_client_that_does_not_trust_us_is_counted_and_never_passed_on(
    worker: Worker,
) -> None:
    _, (_, writer) = await connect(worker.forward, f"{OPENAI}:443")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await writer.start_tls(ssl.create_default_context(), server_hostname=OPENAI)
    async with asyncio.timeout(5):
        while not worker.counters.get("limit_exceeded", "tls_client_failed"):  # noqa: ASYNC110  # it tells nobody
            await asyncio.sleep(0.01)
    assert worker.provider.calls == []
    writer.transport.abort()


@pytest.mark.parametrize("target", [f"{OPENAI}:443", "www.example.org:443"])
async def test_with_egress_deny_only_providers_have_a_tunnel(
    provider: ScriptedProvider, tmp_path: Path, target: str
) -> None:
    async with running_worker(tmp_path, provider, egress="deny") as worker:
        head, (_, writer) = await connect(worker.forward, target)
        assert (head.split(b" ")[1] == b"200") is (OPENAI in target)
        writer.transport.abort()
        reader, plain = await asyncio.open_connection("127.0.0.1", worker.forward)
        plain.write(b"GET http://www.example.org/ HTTP/1.1\r\nHost: www.example.org\r\n\r\n")
        async with asyncio.timeout(5):
            assert (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1] == b"403"
        assert worker.journal.begun == []
        plain.transport.abort()
