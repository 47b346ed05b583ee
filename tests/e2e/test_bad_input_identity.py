"""Names that callers give themselves, and what in a body claims to be one."""

import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from llmtrace.app.accounts import accounts
from llmtrace.app.settings import Settings
from llmtrace.config import load
from llmtrace.domain.traces import Outcome, Trace
from llmtrace.environment.home import Home
from llmtrace.storage.newcomers import CONFLICT, FIRST_SIGHT
from llmtrace.storage.sqlite_metadata import SqliteMetadataRepository
from llmtrace.storage.sqlite_shared import SharedSqliteFile
from llmtrace.testing.inprocess import Worker, running_worker
from llmtrace.testing.oracles import ask, post
from llmtrace.testing.provider import ScriptedProvider

CANARY = b"the-canary-078-05-1120"
HOST = "api.openai.com"
PATH = "/v1/chat/completions"
JSON = "content-type: application/json"


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


@pytest.fixture
async def worker(provider: ScriptedProvider, tmp_path: Path) -> AsyncIterator[Worker]:
    provider.clear()
    async with running_worker(tmp_path, provider) as running:
        yield running


def chat(text: bytes = b"hi") -> bytes:
    return b'{"model":"gpt-4o","messages":[{"role":"user","content":"%s"}]}' % text


PLAIN, HIDDEN = chat(), chat(CANARY)


async def send(
    worker: Worker, body: bytes, *headers: str, path: str = PATH, host: str = HOST
) -> tuple[int, bytes]:
    """Send a body; return the status and the answer's body."""
    fields = [header.encode("latin-1") for header in headers]
    answer = await ask(worker, host, post(path, body, *fields, host=host))
    head, _, rest = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), rest


def assert_refused(worker: Worker, status: int, answer: bytes, code: str = "") -> None:
    """A clear error, a trace, and nothing at the provider."""
    assert 400 <= status < 500, (status, answer[:200])
    assert json.loads(answer)["error"]["message"]
    assert worker.provider.calls == []
    (record,) = worker.journal.ended
    assert (record.trace.outcome, record.trace.status) == (Outcome.REFUSED, status)
    assert not code or record.trace.error_code == code


@pytest.mark.parametrize(
    "headers",
    [
        ["X-LLMTrace-Tenant-ID: a", "X-LLMTrace-Tenant-ID: b"],
        ["X-LLMTrace-Tenant-ID: a", "x-llmtrace-tenant-id: a"],
        ["X-LLMTrace-Tenant-ID: " + "a" * 10_000],
        ["X-LLMTrace-Agent-ID: ../../etc/passwd"],
        ["X-LLMTrace-Agent-ID: \xf0\x9f\x98\x80"],
        ["X-LLMTrace-Agent-ID: a b"],
    ],
    ids=["twice", "twice-the-same", "10000-characters", "path", "emoji", "blank"],
)
async def test_a_name_that_is_none_is_refused(worker: Worker, headers: list[str]) -> None:
    status, answer = await send(worker, PLAIN, JSON, *headers)
    assert (status, worker.provider.calls) == (400, [])
    assert json.loads(answer)["error"]["code"] == "bad_identity"


async def test_no_spelling_of_our_headers_reaches_the_provider(worker: Worker) -> None:
    spellings = [
        "X-LLMTrace-Tenant-ID: acme",
        "X_LLMTrace_Tenant_ID: evil",
        "x-llmtrace_tenant-id: evil",
        "X_LLMTRACE-Token: t",
        "X-LLMTrace-: t",
        "X-LLMTrace-Anything: t",
    ]
    assert (await send(worker, PLAIN, JSON, *spellings))[0] == 200
    (call,) = worker.provider.calls
    assert [name for name, _ in call.headers if "llmtrace" in name.lower()] == []
    assert worker.journal.ended[0].trace.tenant == "acme"


async def test_an_untrusted_peer_names_nobody(provider: ScriptedProvider, tmp_path: Path) -> None:
    provider.clear()
    async with running_worker(tmp_path, provider, identity__trusted_proxies=[]) as worker:
        key = "authorization: Bearer sk-somebody-0001"
        await send(worker, PLAIN, key, "X-LLMTrace-Tenant-ID: b", "X-Forwarded-For: 127.0.0.1")
        trace = await worker.journal.trace()
        assert trace.tenant.startswith("key-")


async def test_an_untrusted_peer_changes_no_price(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    """gpt-4o costs nothing that anybody knew, if it were Ollama's."""
    provider.clear()
    async with running_worker(tmp_path, provider, identity__trusted_proxies=[]) as worker:
        await send(worker, PLAIN, "X-LLMTrace-Provider: ollama")
        trace = await worker.journal.trace()
        assert (trace.provider, bool(trace.cost_nano_usd)) == ("openai", True)


async def test_who_comes_first_with_a_providers_key_is_a_tenant_without_rights(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    provider.clear()
    async with running_worker(tmp_path, provider) as worker:
        assert (await send(worker, PLAIN, "authorization: Bearer sk-somebody-0001"))[0] == 200
        trace = await worker.journal.trace()
    settings = Settings(config=load(environ={}), home=Home(tmp_path / "home"))
    with accounts(settings) as found:
        tenant = found.tenant(trace.tenant)
        assert (tenant.id[:4], tenant.plan) == ("key-", FIRST_SIGHT)
        assert "somebody" not in repr(tenant)
        assert found.keys(tenant=tenant.id, ended=True) == []


async def test_who_names_another_tenant_than_that_of_its_key_is_in_the_audit_log(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    provider.clear()
    settings = Settings(config=load(environ={}), home=Home(tmp_path / "home"))
    settings.home.path.mkdir(mode=0o700)
    with accounts(settings) as found:
        found.create_tenant("acme")
        key, token = found.create_key(tenant="acme")
    async with running_worker(tmp_path, provider) as worker:
        for _ in range(3):
            claims = (f"X-LLMTrace-Token: {token}", "X-LLMTrace-Tenant-ID: evil")
            assert (await send(worker, PLAIN, *claims))[0] == 200
        assert worker.counters.get("identity_conflict") == 3
        assert {record.trace.tenant for record in worker.journal.ended} == {"acme"}
        assert "evil" not in repr([call.headers for call in provider.calls])
    with contextlib.closing(SharedSqliteFile(settings.shared_database)) as file:
        (event,) = SqliteMetadataRepository(file).audit_events(event_type=CONFLICT)
    assert (event.tenant, event.actor, event.resource) == ("acme", f"key/{key.id}", "tenant/evil")


async def test_who_names_another_tenant_than_that_of_its_key_is_refused_where_that_is_wanted(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    provider.clear()
    settings = Settings(config=load(environ={}), home=Home(tmp_path / "home"))
    settings.home.path.mkdir(mode=0o700)
    with accounts(settings) as found:
        found.create_tenant("acme")
        _, token = found.create_key(tenant="acme")
    key = f"X-LLMTrace-Token: {token}"
    async with running_worker(tmp_path, provider, auth__identity_conflict="refuse") as worker:
        status, answer = await send(worker, PLAIN, key, "X-LLMTrace-Tenant-ID: evil")
        assert (status, json.loads(answer)["error"]["code"]) == (403, "identity_conflict")
        assert (provider.calls, b"evil" in answer) == ([], False)
        assert (await send(worker, PLAIN, key, "X-LLMTrace-Tenant-ID: acme"))[0] == 200
    with contextlib.closing(SharedSqliteFile(settings.shared_database)) as file:
        (event,) = SqliteMetadataRepository(file).audit_events(event_type=CONFLICT)
    assert event.resource == "tenant/evil"


async def test_fields_of_a_body_change_neither_destination_nor_tenant(worker: Worker) -> None:
    body = json.dumps(
        {
            **json.loads(PLAIN),
            "api_base": "http://169.254.169.254/",
            "base_url": "http://127.0.0.1:1/",
            "custom_llm_provider": "anthropic",
            "extra_headers": {"x-llmtrace-tenant-id": "b"},
            "user": "b",
        }
    ).encode()
    assert (await send(worker, body, JSON, "X-LLMTrace-Tenant-ID: a"))[0] == 200
    trace: Trace = worker.journal.ended[0].trace
    assert (trace.tenant, trace.provider, trace.host) == ("a", "openai", HOST)
    assert len(worker.provider.calls) == 1


# --- limits --------------------------------------------------------------------------------------
