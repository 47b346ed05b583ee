"""LLMTrace keys through a whole worker: who is let in, who pays, and where no key ever goes."""

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
import wsproto.events as ws

from llmtrace.app.accounts import Accounts, accounts
from llmtrace.app.settings import Settings
from llmtrace.config import load
from llmtrace.domain.traces import Trace
from llmtrace.environment.home import Home
from llmtrace.pipeline.keyring import FRESH_SECONDS
from llmtrace.storage import keys as forms
from llmtrace.storage.keys import Role
from llmtrace.testing.dataplane import read_all
from llmtrace.testing.inprocess import Worker, running_worker
from llmtrace.testing.oracles import Socket, connect
from llmtrace.testing.provider import ScriptedProvider

OPENAI = "https://api.openai.com/v1/chat/completions"
ANTHROPIC = "/anthropic/v1/messages"
HELLO = [{"role": "user", "content": "Hello."}]
CHAT: dict[str, Any] = {"model": "gpt-4o", "messages": HELLO}
MESSAGE: dict[str, Any] = {"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": HELLO}
PROVIDERS = "sk-the-providers-own-0001"
SECONDS = 5


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


@pytest.fixture
async def worker(provider: ScriptedProvider, tmp_path: Path) -> AsyncIterator[Worker]:
    provider.clear()
    async with running_worker(tmp_path, provider, auth__enabled=True) as running:
        yield running


@pytest.fixture
def found(tmp_path: Path) -> Iterator[Accounts]:
    settings = Settings(config=load(environ={}), home=Home(tmp_path / "home"))
    tmp_path.chmod(0o700)
    with accounts(settings) as opened:
        opened.create_tenant("acme")
        yield opened


def through(worker: Worker, password: str = "", **headers: str) -> httpx2.AsyncClient:
    """Return a client that goes through the proxy as ``bot``, if it has a password."""
    login = f"bot:{password}@" if password else ""
    return httpx2.AsyncClient(
        proxy=f"http://{login}127.0.0.1:{worker.forward}",
        verify=worker.client_context(),
        trust_env=False,
        timeout=SECONDS,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


def to_base_url(worker: Worker, **headers: str) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        base_url=worker.base_url,
        trust_env=False,
        timeout=SECONDS,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


def basic(password: str, user: str = "bot") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def received(worker: Worker) -> str:
    """All that came to the provider."""
    return repr([(call.target, call.headers, call.body) for call in worker.provider.calls])


async def connected(worker: Worker, *headers: str) -> int:
    """CONNECT and return the status."""
    _, (reader, writer) = await connect(worker.forward)
    lines = ["CONNECT api.openai.com:443 HTTP/1.1", "Host: api.openai.com:443", *headers, "", ""]
    writer.write("\r\n".join(lines).encode("latin-1"))
    try:
        async with asyncio.timeout(SECONDS):
            head = await reader.readline()
    finally:
        writer.transport.abort()
    return int(head.split(b" ")[1]) if head else 0


# --- who is let in -------------------------------------------------------------------------------


async def test_a_key_opens_a_tunnel_and_says_who_pays(worker: Worker, found: Accounts) -> None:
    key, token = found.create_key(tenant="acme")
    async with through(worker, token, authorization=f"Bearer {PROVIDERS}") as http:
        answer = await http.post(OPENAI, json=CHAT)
    assert answer.status_code == 200
    trace: Trace = await worker.journal.trace()
    assert (trace.tenant, trace.agent, trace.key_id) == ("acme", "bot", key.id)
    (call,) = worker.provider.calls
    assert ("authorization", f"Bearer {PROVIDERS}") in [(n.lower(), v) for n, v in call.headers]
    assert token not in received(worker)


@pytest.mark.parametrize("password", ["", "a-run-token", "llmt_wrong"])
async def test_without_a_key_no_tunnel_is_opened(worker: Worker, password: str) -> None:
    async with through(worker, password) as http:
        with pytest.raises(httpx2.ProxyError, match="407"):
            await http.post(OPENAI, json=CHAT)
    assert worker.provider.calls == []


async def test_no_name_is_looked_up_for_who_has_no_key(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_args: object, **_more: object) -> None:
        raise AssertionError("looked up")

    monkeypatch.setattr("socket.getaddrinfo", never)
    assert await connected(worker) == 407


@pytest.mark.parametrize(
    ("change", "status"),
    [("revoked", 407), ("expired", 407), ("viewer", 403), ("other-installation", 407)],
)
async def test_a_key_that_lets_nobody_in_opens_nothing(
    worker: Worker, found: Accounts, change: str, status: int
) -> None:
    role = Role.VIEWER if change == "viewer" else Role.OPERATOR
    expires_at = datetime.now(UTC) + timedelta(milliseconds=1) if change == "expired" else None
    key, token = found.create_key(role=role, expires_at=expires_at)
    if change == "revoked":
        found.revoke_key(key.id)
    if change == "other-installation":
        token = forms.new_token()[1]
    await asyncio.sleep(0.002)
    assert await connected(worker, f"Proxy-Authorization: {basic(token)}") == status
    async with to_base_url(worker, authorization=f"Bearer {token}") as http:
        answer = await http.post("/openai/v1/chat/completions", json=CHAT)
    assert answer.status_code == (status if status == 403 else 401)
    assert token[-32:] not in answer.text
    assert worker.provider.calls == []


async def test_the_word_of_a_refusal_tells_a_stranger_nothing(
    worker: Worker, found: Accounts
) -> None:
    revoked, token = found.create_key()
    found.revoke_key(revoked.id)
    said = set()
    for guess in (forms.new_token()[1], token[:-1] + "~", "llmt_", token[:-1]):
        async with to_base_url(worker, authorization=f"Bearer {guess}") as http:
            answer = await http.post("/openai/v1/chat/completions", json=CHAT)
        said.add(answer.text)
    assert len(said) == 1


async def test_a_revoked_key_stops_within_two_seconds_in_an_open_tunnel_too(
    worker: Worker, found: Accounts
) -> None:
    key, token = found.create_key()
    async with through(worker, token) as http:
        assert (await http.post(OPENAI, json=CHAT)).status_code == 200
        found.revoke_key(key.id)
        began = time.monotonic()
        while (answer := await http.post(OPENAI, json=CHAT)).status_code == 200:
            assert time.monotonic() - began < 2
            await asyncio.sleep(FRESH_SECONDS / 5)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "llmtrace_key_revoked"


async def test_a_rotated_key_is_good_at_once_and_the_old_one_for_its_grace(
    worker: Worker, found: Accounts
) -> None:
    key, old = found.create_key()
    assert await connected(worker, f"Proxy-Authorization: {basic(old)}") == 200
    _, newer = found.rotate_key(key.id, grace=timedelta(hours=1))
    for token in (old, newer):
        assert await connected(worker, f"Proxy-Authorization: {basic(token)}") == 200
    _, newest = found.rotate_key(key.id)
    assert await connected(worker, f"Proxy-Authorization: {basic(newest)}") == 200
    assert await connected(worker, f"Proxy-Authorization: {basic(newer)}") == 407


# --- the other ways in ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "header", "body"),
    [
        ("/openai/v1/chat/completions", "authorization", CHAT),
        (ANTHROPIC, "x_api_key", MESSAGE),
        (ANTHROPIC, "x_llmtrace_token", MESSAGE),
    ],
    ids=["bearer", "x-api-key", "own-header"],
)
async def test_in_base_url_mode_the_key_is_the_api_key_and_goes_no_further(
    worker: Worker, found: Accounts, path: str, header: str, body: dict[str, Any]
) -> None:
    key, token = found.create_key(tenant="acme", agent="bot")
    shown = f"Bearer {token}" if header == "authorization" else token
    async with to_base_url(worker, **{header: shown}) as http:
        assert (await http.post(path, json=body)).status_code == 200
    trace = await worker.journal.trace()
    assert (trace.tenant, trace.agent, trace.key_id) == ("acme", "bot", key.id)
    names = {name.lower() for call in worker.provider.calls for name, _ in call.headers}
    assert not names & {"authorization", "x-api-key", "x-llmtrace-token"}
    assert token not in received(worker)


async def test_the_providers_key_passes_beside_ours(worker: Worker, found: Accounts) -> None:
    _, token = found.create_key()
    async with to_base_url(worker, x_llmtrace_token=token, x_api_key=PROVIDERS) as http:
        assert (await http.post(ANTHROPIC, json=MESSAGE)).status_code == 200
    (call,) = worker.provider.calls
    assert ("x-api-key", PROVIDERS) in [(name.lower(), value) for name, value in call.headers]


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        ("/openai/v1/chat/completions", CHAT, "authentication_error"),
        (ANTHROPIC, MESSAGE, "authentication_error"),
    ],
    ids=["openai", "anthropic"],
)
async def test_without_a_key_the_answer_has_the_shape_of_the_dialect(
    worker: Worker, path: str, body: dict[str, Any], kind: str
) -> None:
    async with to_base_url(worker, authorization=f"Bearer {PROVIDERS}") as http:
        answer = await http.post(path, json=body)
    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == kind
    assert "llmtrace keys create" in answer.json()["error"]["message"]
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert worker.provider.calls == []
    assert worker.counters.get("key_refused", "missing") == 1


async def test_plain_requests_to_the_proxy_need_a_key_each(worker: Worker, found: Accounts) -> None:
    _, token = found.create_key()
    line = "GET http://api.openai.com/v1/models HTTP/1.1\r\nHost: api.openai.com\r\n"
    other = "GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n"
    proof = f"Proxy-Authorization: {basic(token)}\r\n\r\n"
    _, (reader, writer) = await connect(worker.forward)
    writer.write((line + proof).encode())
    async with asyncio.timeout(SECONDS):
        assert b" 407 " not in await reader.readuntil(b"\r\n")
        writer.write(other.encode())
        assert b"HTTP/1.1 407 Proxy Authentication Required" in await read_all(reader)
    writer.transport.abort()
    assert token not in received(worker)


async def test_a_refused_tunnel_lets_nothing_through(worker: Worker) -> None:
    _, (reader, writer) = await connect(worker.forward)
    writer.write(b"CONNECT api.openai.com:443 HTTP/1.1\r\nHost: api.openai.com:443\r\n\r\n")
    writer.write(b"GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n")
    async with asyncio.timeout(SECONDS):
        said = await reader.readuntil(b"\r\n\r\n")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                said += await read_all(reader)
    assert said.count(b" 407 ") == said.count(b"HTTP/1.1 ") >= 1
    writer.transport.abort()


async def test_the_calls_of_a_websocket_need_a_key_that_still_works(
    worker: Worker, found: Accounts
) -> None:
    key, token = found.create_key(tenant="acme")
    _, (reader, writer) = await connect(worker.forward)
    writer.write(
        b"CONNECT api.openai.com:443 HTTP/1.1\r\nHost: api.openai.com:443\r\n"
        + f"Proxy-Authorization: {basic(token)}\r\n\r\n".encode()
    )
    assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
    await writer.start_tls(worker.client_context(), server_hostname="api.openai.com")
    socket = Socket(reader, writer)
    writer.write(socket.conn.send(ws.Request(host="api.openai.com", target="/v1/responses")))
    await socket.accepted()
    socket.send(json.dumps({"type": "response.create", "model": "gpt-4o", "input": "hi"}))
    while (message := await socket.message()) and message["type"] != "response.completed":
        pass
    assert (await worker.journal.trace()).tenant == "acme"
    found.revoke_key(key.id)
    await asyncio.sleep(FRESH_SECONDS + 0.1)
    before = len(worker.provider.calls)
    socket.send(json.dumps({"type": "response.create", "model": "gpt-4o", "input": "hi"}))
    answer = await socket.message()
    assert answer is None or answer["type"] == "error"
    assert len(worker.provider.calls) == before
    writer.transport.abort()


# --- forged, doubled, malformed ------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"x_llmtrace_tenant_id": "evil"},
        {"x_llmtrace_tenant_id": "evil", "x_llmtrace_agent_id": "evil"},
        {"X_LLMTrace-Tenant_ID": "evil"},
    ],
    ids=["tenant", "both", "spelled"],
)
async def test_headers_do_not_change_who_a_key_says_pays(
    worker: Worker, found: Accounts, headers: dict[str, str]
) -> None:
    _, token = found.create_key(tenant="acme", agent="bound")
    async with through(worker, token, **headers) as http:
        assert (await http.post(OPENAI, json=CHAT)).status_code == 200
    trace = await worker.journal.trace()
    assert (trace.tenant, trace.agent) == ("acme", "bound")
    assert "evil" not in received(worker)
    assert "llmtrace" not in received(worker).lower()


MALFORMED = {
    "10000-characters": ("Proxy-Authorization: Basic " + "A" * 10_000, 407),
    "not-ascii": ("Proxy-Authorization: Basic \xff\xfe", 407),
    "nul-inside": ("Proxy-Authorization: " + basic("llmt_\x00" + "a" * 44), 407),
    "crlf-inside": ("Proxy-Authorization: " + basic("llmt_a\r\nX-Injected: 1"), 407),
    "accents": ("Proxy-Authorization: " + basic("llmt_" + "é" * 45), 407),
    "bearer": ("Proxy-Authorization: Bearer llmt_x", 407),
    "empty": ("Proxy-Authorization:", 407),
    "nul": ("Proxy-Authorization: Basic llmt_\x00", 400),
}


async def test_malformed_credentials_let_nobody_in(worker: Worker) -> None:
    answers = {name: await connected(worker, header) for name, (header, _) in MALFORMED.items()}
    assert answers == {name: status for name, (_, status) in MALFORMED.items()}


async def test_doubled_credentials_let_nobody_in(worker: Worker, found: Accounts) -> None:
    proofs = [f"Proxy-Authorization: {basic(found.create_key()[1])}" for _ in range(2)]
    assert await connected(worker, *proofs) == 407
    assert await connected(worker, proofs[0], proofs[0]) == 407
    one, two = (found.create_key()[1] for _ in range(2))
    async with to_base_url(worker, x_llmtrace_token=one, authorization=f"Bearer {two}") as http:
        assert (await http.post("/openai/v1/chat/completions", json=CHAT)).status_code == 400
    assert worker.provider.calls == []


async def test_a_wrong_key_is_refused_where_none_is_needed(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    provider.clear()
    async with running_worker(tmp_path, provider) as worker:
        for password, expected in (("", 200), ("a-run-token", 200), ("llmt_wrong", 407)):
            proof = [f"Proxy-Authorization: {basic(password)}"] if password else []
            assert await connected(worker, *proof) == expected


async def test_a_key_in_the_wrong_place_reaches_no_provider(
    worker: Worker, found: Accounts
) -> None:
    _, token = found.create_key()
    async with through(worker, token, cookie=f"k={token}", x_note=f"the key is {token}") as http:
        answer = await http.post(f"{OPENAI}?note={token}&api-version=1", json=CHAT)
    assert answer.status_code == 200
    assert token not in received(worker)
    (call,) = worker.provider.calls
    assert call.target.endswith("?note=&api-version=1")


async def test_many_wrong_keys_change_nothing(worker: Worker, found: Accounts) -> None:
    _, token = found.create_key()
    wrong = forms.new_token()[1]
    for _ in range(300):
        status = await connected(worker, f"Proxy-Authorization: {basic(wrong)}")
        assert status == 407
    assert worker.counters.get("key_refused", "unknown") == 300
    assert await connected(worker, f"Proxy-Authorization: {basic(token)}") == 200
