"""Rates, token caps and warnings, through whole workers."""

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from llmtrace.app.accounts import accounts
from llmtrace.app.settings import Settings
from llmtrace.config import load
from llmtrace.environment.home import Home
from llmtrace.storage.sqlite_ledger import SqliteLedger
from llmtrace.testing.budgets import MODEL, PRICES, RESERVED, URL, body, room_for, settled
from llmtrace.testing.inprocess import Worker, running_worker
from llmtrace.testing.oracles import Socket
from llmtrace.testing.provider import ScriptedProvider

PROMPT = "@script: input_tokens=0 output_tokens=100"
WAIT = 1000


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


def rates(**limits: Any) -> dict[str, Any]:
    """Return rates that nothing meets but what is named."""
    none = {"enabled": True, "requests_per_second": None}
    return {"cost_estimation": PRICES, "rate_limiting": {**none, **limits}}


SLOW = {"requests_per_second": 1 / WAIT, "burst_size": 2}
"""Two calls at once, and then one in ``WAIT`` seconds."""


async def ask(
    worker: Worker, text: str = PROMPT, *, agent: str = "crowd/1", headers: Any = None, **more: Any
) -> httpx2.Response:
    async with httpx2.AsyncClient(
        proxy=worker.proxy_url,
        verify=worker.client_context(),
        trust_env=False,
        headers={"user-agent": agent, **(headers or {})},
    ) as http:
        return await http.post(URL, json=body(text) | more)


async def statuses(worker: Worker, count: int, **how: Any) -> list[int]:
    return [(await ask(worker, **how)).status_code for _ in range(count)]


# --- rates ---------------------------------------------------------------------------------------


async def test_a_burst_goes_over_all_workers_and_what_is_too_fast_is_told_when_to_come_back(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    provider.clear()
    settings = rates(**SLOW)
    async with (
        running_worker(tmp_path, provider, **settings) as first,
        running_worker(tmp_path, provider, **settings) as second,
    ):
        answers = [await ask(worker) for worker in (first, second, first, second)]
        refused = answers[2]
    assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
    left = [answer.headers["x-ratelimit-remaining"] for answer in answers]
    assert left == ["1", "0", "0", "0"]
    assert {answer.headers["x-ratelimit-limit"] for answer in answers} == {"2"}
    error = refused.json()["error"]
    assert (error["code"], error["scope"], error["unit"]) == (
        "rate_limit_exceeded",
        "tenant",
        "calls",
    )
    assert WAIT - 5 < int(refused.headers["retry-after"]) <= WAIT
    assert "x-should-retry" not in refused.headers  # coming back later does help
    assert len(provider.model_calls) == 2


async def test_who_waits_as_long_as_told_is_let_through(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    provider.clear()
    async with running_worker(
        tmp_path, provider, **rates(requests_per_second=2, burst_size=1)
    ) as worker:
        assert (await ask(worker)).status_code == 200
        refused = await ask(worker)
        assert refused.status_code == 429
        await asyncio.sleep(int(refused.headers["retry-after"]))
        assert (await ask(worker)).status_code == 200


async def test_tokens_that_were_not_used_are_given_back(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    """Each call may write 400 of 1,000 tokens a minute and writes 100: two would not fit else."""
    provider.clear()
    async with running_worker(tmp_path, provider, **rates(tokens_per_minute=1000)) as worker:
        ledger = SqliteLedger.at(worker.home.path / "limits.sqlite")
        found = []
        for _ in range(6):
            found.append(await ask(worker, max_tokens=400))
            await settled(ledger)
        refused = await ask(worker, max_tokens=900)
        ledger.close()
    assert [answer.status_code for answer in found] == [200] * 6
    assert refused.status_code == 429
    assert refused.json()["error"]["unit"] == "tokens"


LIMITS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "agent": ({"agents": {"claude-*": SLOW}}, {"agent": "claude-cli/2"}, {"agent": "codex/1"}),
    "model": (
        {"models": {"priced-*": SLOW}},
        {},
        {"text": f"{PROMPT} x", "model": "gpt-4o"},
    ),
    "tenant": (
        {"tenant_overrides": {"slow": SLOW}},
        {"headers": {"x-llmtrace-tenant-id": "slow"}},
        {"headers": {"x-llmtrace-tenant-id": "fast"}},
    ),
    "header": (
        {"headers": [{"name": "X-Team", "value": "batch-*", **SLOW}]},
        {"headers": {"x-team": "batch-1"}},
        {"headers": {"x-team": "batch-2"}},
    ),
}
"""A limit, a call that meets it, and one that does not."""


@pytest.mark.parametrize("scope", LIMITS)
async def test_each_has_a_rate_of_its_own(
    provider: ScriptedProvider, tmp_path: Path, scope: str
) -> None:
    provider.clear()
    limit, meets, passes = LIMITS[scope]
    async with running_worker(tmp_path, provider, **rates(**limit)) as worker:
        assert await statuses(worker, 3, **meets) == [200, 200, 429]
        assert (await ask(worker, **passes)).status_code == 200


async def test_a_value_that_no_rate_is_for_has_none(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    provider.clear()
    limit, _, _ = LIMITS["header"]
    async with running_worker(tmp_path, provider, **rates(**limit)) as worker:
        for headers in ({"x-team": "web"}, {}):
            assert await statuses(worker, 3, headers=headers) == [200, 200, 200]


async def test_a_header_of_who_is_not_trusted_counts_for_nothing(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    provider.clear()
    limit, meets, _ = LIMITS["header"]
    settings = rates(**limit) | {"identity__trusted_proxies": []}
    async with running_worker(tmp_path, provider, **settings) as worker:
        assert await statuses(worker, 3, **meets) == [200, 200, 200]


async def test_calls_on_a_websocket_have_a_rate_too(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    provider.clear()
    create = {"type": "response.create", "model": MODEL, "input": "hi", "max_output_tokens": 9}
    async with running_worker(tmp_path, provider, **rates(**SLOW)) as worker:
        socket = await (await Socket.open(worker)).accepted()
        ends = []
        for _ in range(3):
            socket.send(json.dumps(create))
            while (message := await socket.message()) is not None:
                if message["type"] in ("response.completed", "error"):
                    ends.append(message.get("status", 200))
                    break
        socket.abort()
    assert ends == [200, 200, 429]


# --- token caps ----------------------------------------------------------------------------------

CAPS = {"max_prompt_tokens": 50, "max_completion_tokens": 200, "max_total_tokens": 220}


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        pytest.param({"text": "word " * 100, "max_tokens": 1}, "prompt", id="prompt"),
        pytest.param({"max_tokens": 201}, "completion", id="completion"),
        pytest.param({"max_tokens": 101, "n": 2}, "completion", id="completion-of-two"),
        pytest.param({"text": "word " * 30, "max_tokens": 200}, "total", id="total"),
    ],
)
async def test_a_call_with_too_many_tokens_is_refused(
    provider: ScriptedProvider, tmp_path: Path, more: dict[str, Any], kind: str
) -> None:
    provider.clear()
    settings = room_for(100, default_token_cap=CAPS)
    async with running_worker(tmp_path, provider, **settings) as worker:
        answer = await ask(worker, **{"text": "hi", **more})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["kind"]) == (400, "token_cap_exceeded", kind)
    assert error["limit_tokens"] == CAPS[f"max_{kind}_tokens"]
    assert provider.calls == []


# --- budgets of each scope, and their warnings ---------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "spared"),
    [
        pytest.param("agent", {"agent", "tenant"}, id="agent"),
        pytest.param("tenant", {"tenant"}, id="tenant"),
        pytest.param("key", {"tenant", "key"}, id="key"),
        pytest.param("model", {"tenant", "model"}, id="model"),
    ],
)
async def test_each_scope_has_a_budget_of_its_own(
    provider: ScriptedProvider, tmp_path: Path, scope: str, spared: set[str]
) -> None:
    """``spared`` are the things one of which a call must have otherwise, once it is spent."""
    provider.clear()
    settings = Settings(config=load(environ={}), home=Home(tmp_path / "home"))
    settings.home.path.mkdir(mode=0o700)
    with accounts(settings) as opened:
        tokens = []
        for tenant in ("acme", "other"):
            opened.create_tenant(tenant)
            tokens.append(opened.create_key(tenant=tenant)[1])
        sibling = opened.create_key(tenant="acme")[1]
    prices = {"custom_models": {**PRICES["custom_models"], "other": {**_price()}}}
    own = room_for(1, default_scope=scope) | {"cost_estimation": prices}
    async with running_worker(tmp_path, provider, **own) as worker:
        one = {"headers": {"x-llmtrace-token": tokens[0]}}
        assert await statuses(worker, 2, **one) == [200, 429]
        changed: dict[str, dict[str, Any]] = {
            "agent": {**one, "agent": "codex/1"},
            "tenant": {"headers": {"x-llmtrace-token": tokens[1]}},
            "key": {"headers": {"x-llmtrace-token": sibling}},
            "model": {**one, "model": "other"},
        }
        found = {name: (await ask(worker, **how)).status_code for name, how in changed.items()}
    assert found == {name: 200 if name in spared else 429 for name in changed}


def _price() -> dict[str, float]:
    return dict(PRICES["custom_models"][MODEL])


async def test_a_budget_warns_once_in_a_period_over_all_workers(
    provider: ScriptedProvider, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Room for ten: the soft limit is met by the sixth call, and 80 per cent by the ninth."""
    provider.clear()
    cap = {"soft_limit_usd": f"{4.5 * RESERVED / 1e9:.9f}"}
    settings = room_for(10, cap=cap)
    with caplog.at_level(logging.WARNING):
        async with (
            running_worker(tmp_path, provider, **settings) as first,
            running_worker(tmp_path, provider, **settings) as second,
        ):
            ledger = SqliteLedger.at(first.home.path / "limits.sqlite")
            for number in range(10):
                worker = (first, second)[number % 2]
                assert (await ask(worker)).status_code == 200
                await settled(ledger)
            await asyncio.sleep(0.1)
            ledger.close()
            counted = {
                kind: sum(w.counters.get("budget_warnings", kind) for w in (first, second))
                for kind in ("soft_limit", "near_limit")
            }
    said = [record.message for record in caplog.records if "budget of" in record.message]
    assert counted == {"soft_limit": 1, "near_limit": 1}
    assert len(said) == 2
    assert said[0].startswith("daily budget of agent 'crowd' of tenant 'default': $0.005")
    assert "of a soft limit of" in said[0]
    assert "of a limit of" in said[1]
