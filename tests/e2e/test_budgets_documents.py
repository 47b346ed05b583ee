"""What the pages say about budgets works as it is written there."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from llmtrace.app.accounts import accounts
from llmtrace.app.settings import Settings
from llmtrace.config import load
from llmtrace.environment.home import Home
from llmtrace.limits.standings import budget_rows
from llmtrace.providers.custom_prices import read_pricing_file
from llmtrace.storage.sqlite_ledger import SqliteLedger
from llmtrace.testing.budgets import URL, settled
from llmtrace.testing.inprocess import Worker, running_worker
from llmtrace.testing.provider import ScriptedProvider

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/budgets.md", "docs/identity.md")
BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
SECTIONS = {"cost_caps", "rate_limiting", "runaway", "auth", "mode", "policy"}


def blocks(page: str) -> list[str]:
    return BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))


TWENTY = [block for page in PAGES for block in blocks(page) if "hard_limit_usd: 20\n" in block]


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


@pytest.mark.parametrize("page", PAGES)
def test_each_block_is_a_configuration(page: str, tmp_path: Path) -> None:
    written = [block for block in blocks(page) if SECTIONS.intersection(yaml.safe_load(block))]
    assert written
    for block in written:
        path = tmp_path / "llmtrace.yaml"
        path.write_text(block)
        load(path, environ={})


def test_the_block_of_prices_is_a_pricing_file(tmp_path: Path) -> None:
    [block] = blocks("docs/prices.md")
    path = tmp_path / "prices.yaml"
    path.write_text(block)
    assert read_pricing_file(path).models.keys() == yaml.safe_load(block).keys()


async def ask(worker: Worker, agent: str, output_tokens: int, *, key: str = "") -> httpx2.Response:
    """Call with a provider's key; ``key`` is LLMTrace's."""
    prompt = f"@script: input_tokens=0 output_tokens={output_tokens}"
    messages = [{"role": "user", "content": prompt}]
    proxy = worker.proxy_url.replace("://", f"://x:{key}@") if key else worker.proxy_url
    async with httpx2.AsyncClient(
        proxy=proxy,
        verify=worker.client_context(),
        trust_env=False,
        headers={"user-agent": agent, "authorization": "Bearer sk-of-the-provider"},
    ) as http:
        return await http.post(URL, json={"model": "gpt-4o", "messages": messages})


@pytest.mark.parametrize("block", TWENTY, ids=[f"block-{n}" for n, _ in enumerate(TWENTY, 1)])
async def test_five_lines_hold_each_agent_to_twenty_dollars_a_day(
    provider: ScriptedProvider, tmp_path: Path, block: str
) -> None:
    """gpt-4o costs $10 for a million output tokens, so that two million are $20."""
    assert len(block.strip().splitlines()) == 5
    provider.clear()
    written: dict[str, Any] = yaml.safe_load(block)
    async with running_worker(tmp_path, provider, **written) as worker:
        ledger = SqliteLedger.at(worker.home.path / "limits.sqlite")
        assert (await ask(worker, "claude-cli/2.0", 1_900_000)).status_code == 200
        assert (await ask(worker, "claude-cli/2.0", 100_000)).status_code == 200
        assert await settled(ledger) == 20 * 10**9
        refused = await ask(worker, "claude-cli/2.0", 1)
        assert (await ask(worker, "codex_cli_rs/0.9", 1)).status_code == 200
        ledger.close()
    error = refused.json()["error"]
    assert refused.status_code == 429
    assert (error["scope"], error["scope_id"]) == ("agent", "claude-code")
    assert (error["window"], error["limit_usd"], error["spent_usd"]) == ("daily", 20, 20)
    assert len(provider.model_calls) == 3


def test_the_pages_show_it_twice() -> None:
    assert len(TWENTY) == 2


async def test_the_team_shares_what_its_tenant_may_spend(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    [block] = [block for block in blocks("docs/budgets.md") if "tenants:" in block]
    settings = Settings(config=load(environ={}), home=Home(tmp_path / "home"))
    settings.home.path.mkdir(mode=0o700)
    with accounts(settings) as opened:
        opened.create_tenant("team")
        keys = [opened.create_key(tenant="team", agent=name)[1] for name in ("nightly", "day")]
    async with running_worker(tmp_path, provider, **yaml.safe_load(block)) as worker:
        ledger = SqliteLedger.at(worker.home.path / "limits.sqlite")
        for key in keys:
            assert (await ask(worker, "curl/8", 20_000, key=key)).status_code == 200
        await settled(ledger)
        rows = budget_rows(ledger.current())
        ledger.close()
    limits = {(row.tenant, row.scope, row.name, row.window): (row.limit, row.spent) for row in rows}
    one = 20_000 * 10_000
    assert limits == {
        ("team", "agent", "nightly", "daily"): (80 * 10**9, one),
        ("team", "agent", "day", "daily"): (20 * 10**9, one),
        ("team", "tenant", "team", "monthly"): (500 * 10**9, 2 * one),
    }
