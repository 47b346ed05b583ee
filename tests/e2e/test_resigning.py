"""Calls to Bedrock that came signed: what is changed is signed anew, as botocore would sign it."""

import gzip
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from botocore.auth import SigV4Auth  # type: ignore[import-untyped]  # no stubs exist
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.credentials import Credentials  # type: ignore[import-untyped]

from llmtrace.app.accounts import Accounts, accounts
from llmtrace.app.settings import Settings
from llmtrace.config import load
from llmtrace.environment.home import Home
from llmtrace.testing import routes
from llmtrace.testing.budgets import room_for
from llmtrace.testing.inprocess import Worker, running_worker
from llmtrace.testing.planted import POLICY, SECRET
from llmtrace.testing.provider import ScriptedProvider
from llmtrace.testing.script import Script
from llmtrace.testing.serving import Call

BASE = "https://bedrock-runtime.us-east-1.amazonaws.com"
MODEL = "/model/us.anthropic.claude-3-5-sonnet-20241022-v2%3A0"
CONVERSE = f"{BASE}{MODEL}/converse"
KEY_ID, AWS_SECRET = "AKIAOPERATOROPERATOR", "operators-secret-9d1c77"
TOKEN = "operators/session/token+5b2e=="
DATE = "20261121T120000Z"
OURS = Credentials(KEY_ID, AWS_SECRET)
LASTING = Credentials("ASIAOPERATOROPERATOR", AWS_SECRET, TOKEN)
THEIRS = Credentials("AKIACLIENTCLIENT0000", "clients-secret", "clients/session/token")
KEYS: Mapping[str, Any] = {"access_key_id": "env:OP_ID", "secret_access_key": "env:OP_SECRET"}
LASTING_KEYS: Mapping[str, Any] = {
    "access_key_id": "env:OP_LASTING",
    "secret_access_key": "env:OP_SECRET",
    "session_token": "env:OP_TOKEN",
}
SIGNED_ANEW = ("authorization", "x-amz-content-sha256", "x-amz-security-token")


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OP_ID", KEY_ID)
    monkeypatch.setenv("OP_LASTING", LASTING.access_key)
    monkeypatch.setenv("OP_SECRET", AWS_SECRET)
    monkeypatch.setenv("OP_TOKEN", TOKEN)


@pytest.fixture
async def worker(provider: ScriptedProvider, tmp_path: Path) -> AsyncIterator[Worker]:
    provider.clear()
    resigning = {"aws": [KEYS, LASTING_KEYS]}
    async with running_worker(
        tmp_path, provider, mode="enforce", policy=POLICY, resigning=resigning
    ) as running:
        yield running


@pytest.fixture
async def for_all(provider: ScriptedProvider, tmp_path: Path) -> AsyncIterator[Worker]:
    provider.clear()
    resigning = {"aws": [LASTING_KEYS], "for_key_holders": True}
    async with running_worker(
        tmp_path, provider, mode="enforce", policy=POLICY, resigning=resigning
    ) as running:
        yield running


def turn(text: str = f"The token is {SECRET} for now.") -> bytes:
    return json.dumps({"messages": [{"role": "user", "content": [{"text": text}]}]}).encode()


def signed(body: bytes, who: Credentials, url: str = CONVERSE, **headers: str) -> Mapping[str, str]:
    """Return the headers with which botocore sends a body."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    about = AWSRequest("POST", url, {"Content-Type": "application/json", **named}, data=body)
    SigV4Auth(who, "bedrock", "us-east-1").add_auth(about)
    return dict(about.headers.items())


async def post(
    worker: Worker,
    body: bytes,
    headers: Mapping[str, str],
    *,
    url: str = CONVERSE,
    key: str = "",
    http2: bool = False,
) -> httpx2.Response:
    proxy = worker.proxy_url.replace("//", f"//bot:{key}@") if key else worker.proxy_url
    async with httpx2.AsyncClient(
        proxy=proxy, verify=worker.client_context(), trust_env=False, timeout=30, http2=http2
    ) as http:
        return await http.post(url, content=body, headers=headers)


def received(worker: Worker) -> Call:
    (call,) = worker.provider.calls
    return call


def assert_signed(call: Call, who: Credentials) -> None:
    """Check the signature of a call as it was received by what botocore makes of it."""
    said = call.header("authorization") or ""
    names = said.split("SignedHeaders=")[1].split(",")[0].split(";")
    headers = {name: call.header(name) or call.header(":authority") for name in names}
    url = f"https://{headers['host']}{call.target}"
    about = AWSRequest(call.method, url, headers, data=call.body)
    about.context["timestamp"] = headers["x-amz-date"]
    judge = SigV4Auth(who, "bedrock", "us-east-1")
    text = judge.string_to_sign(about, judge.canonical_request(about))
    assert said.endswith(f"Signature={judge.signature(text, about)}")
    assert f"Credential={who.access_key}/" in said
    assert call.header("x-amz-security-token") == who.token


async def test_what_is_changed_is_signed_anew_with_the_same_keys(worker: Worker) -> None:
    body = turn()
    headers = signed(body, OURS)
    assert (await post(worker, body, headers)).status_code == 200
    call = received(worker)
    assert SECRET.encode() not in call.body
    assert b"The token is LLMT_" in call.body
    assert_signed(call, OURS)
    assert call.header("x-amz-date") == headers["X-Amz-Date"]
    trace = await worker.journal.trace()
    assert trace.attributes["resigned"] == "true"
    assert worker.counters.get("resigned_requests") == 1


async def test_it_is_signed_anew_over_http2_too(worker: Worker) -> None:
    body = turn()
    answer = await post(worker, body, signed(body, OURS), http2=True)
    assert (answer.status_code, answer.http_version) == (200, "HTTP/2")
    call = received(worker)
    assert SECRET.encode() not in call.body
    assert_signed(call, OURS)


@pytest.mark.parametrize("who", [OURS, LASTING, THEIRS], ids=["ours", "lasting", "theirs"])
async def test_what_is_not_changed_keeps_its_own_signature(
    worker: Worker, who: Credentials
) -> None:
    body = turn("Plain words.")
    headers = signed(body, who)
    assert (await post(worker, body, headers)).status_code == 200
    call = received(worker)
    assert call.body == body
    assert {name: call.header(name) for name in headers} == headers
    assert "resigned" not in (await worker.journal.trace()).attributes


async def test_the_session_token_is_signed_and_recorded_nowhere(worker: Worker) -> None:
    body = turn()
    assert (await post(worker, body, signed(body, LASTING))).status_code == 200
    assert_signed(received(worker), LASTING)
    record = worker.journal.ended[0]
    assert TOKEN not in repr(record)
    assert AWS_SECRET not in repr(record)


FORGED: Mapping[str, Callable[[], Mapping[str, str]]] = {
    "another-clients": lambda: signed(turn(), THEIRS),
    "guessed-secret": lambda: signed(turn(), Credentials(KEY_ID, "guessed")),
    "another-body": lambda: signed(turn("Plain words."), OURS),
    "another-place": lambda: signed(turn(), OURS, f"{CONVERSE}-stream"),
    "in-chunks": lambda: {
        **signed(turn(), OURS),
        "x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    },
}


@pytest.mark.parametrize("name", FORGED)
async def test_what_the_operators_keys_did_not_sign_is_refused(worker: Worker, name: str) -> None:
    answer = await post(worker, turn(), FORGED[name]())
    assert answer.status_code == 400
    assert "SigV4" in answer.text
    assert "cannot be signed anew" in answer.text
    assert worker.provider.calls == []
    assert (await worker.journal.trace()).error_code == "llmtrace_blocked_signed"


async def test_a_presigned_request_is_not_changed(worker: Worker) -> None:
    url = f"{CONVERSE}?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature={'0' * 64}"
    answer = await post(worker, turn(), {"content-type": "application/json"}, url=url)
    assert answer.status_code == 400
    assert "SigV4" in answer.text
    assert worker.provider.calls == []


async def test_a_coded_body_is_signed_as_it_goes_on(worker: Worker) -> None:
    body = gzip.compress(turn())
    assert (
        await post(worker, body, signed(body, OURS, content_encoding="gzip"))
    ).status_code == 200
    call = received(worker)
    assert call.header("content-encoding") is None
    assert_signed(call, OURS)


async def test_a_limit_that_a_budget_puts_in_is_signed(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    provider.clear()
    body = json.dumps(
        {"messages": [{"role": "user", "content": [{"text": "Plain words."}]}]}
    ).encode()
    settings = room_for(10**6, mode="strict")
    async with running_worker(tmp_path, provider, resigning={"aws": [KEYS]}, **settings) as worker:
        assert (await post(worker, body, signed(body, OURS))).status_code == 200
    call = received(worker)
    assert json.loads(call.body)["inferenceConfig"]["maxTokens"] > 0
    assert_signed(call, OURS)


@pytest.fixture
def found(tmp_path: Path) -> Iterator[Accounts]:
    with accounts(Settings(config=load(environ={}), home=Home(tmp_path / "home"))) as opened:
        yield opened


async def test_for_who_has_a_key_of_ours_it_is_signed_in_the_operators_name(
    for_all: Worker, found: Accounts
) -> None:
    _, key = found.create_key()
    body = turn()
    headers = signed(body, THEIRS)
    assert (await post(for_all, body, headers)).status_code == 400
    assert for_all.provider.calls == []
    assert (await post(for_all, body, headers, key=key)).status_code == 200
    call = received(for_all)
    assert_signed(call, LASTING)
    assert str(THEIRS.token) not in str(call.headers)


async def test_an_error_that_repeats_the_operators_token_does_not_tell_it(
    for_all: Worker, found: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, key = found.create_key()
    echo = f"The Canonical String should have been 'x-amz-security-token:{TOKEN}'"
    monkeypatch.setattr(routes, "FAILURE", echo)
    for_all.provider.enqueue(Script(status=403))
    answer = await post(for_all, turn(), signed(turn(), THEIRS), key=key)
    assert answer.status_code == 403
    assert "x-amz-security-token:[credential]" in answer.text
    assert TOKEN not in answer.text
    assert TOKEN not in repr(for_all.journal.ended)
