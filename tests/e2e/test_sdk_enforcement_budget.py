"""Unmodified clients whose budget is spent: they tell so after one attempt."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmtrace.testing.processes import GatewayProcess, Program
from llmtrace.testing.provider import ScriptedProvider

pytestmark = [pytest.mark.realclients, pytest.mark.timeout(120)]

SCRIPTS = Path(__file__).parent / "clients"
KEYS = {"ANTHROPIC_API_KEY": "sk-ant-fake", "OPENAI_API_KEY": "sk-fake"}
NOTHING_LEFT: dict[str, Any] = {
    "cost_caps": {
        "enabled": True,
        "default_budget_caps": [{"window": "total", "hard_limit_usd": 0}],
    }
}
CASES = {
    "python-openai_chat": "openai.RateLimitError",
    "python-openai_chat_stream": "openai.RateLimitError",
    "python-openai_chat_async": "openai.RateLimitError",
    "python-openai_responses": "openai.RateLimitError",
    "python-openai_responses_stream": "openai.RateLimitError",
    "python-anthropic_messages": "anthropic.RateLimitError",
    "python-anthropic_messages_async": "anthropic.RateLimitError",
    "python-anthropic_stream": "anthropic.RateLimitError",
    "node-openai_chat": "RateLimitError",
    "node-openai_responses_stream": "RateLimitError",
    "node-anthropic_messages": "RateLimitError",
    "node-anthropic_messages_stream": "RateLimitError",
}


@pytest.fixture(scope="module")
def spent(
    provider: ScriptedProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """A gateway where nobody may spend anything."""
    hosts = ("api.anthropic.com", "api.openai.com")
    folder = tmp_path_factory.mktemp("spent")
    with GatewayProcess(folder, provider, hosts, settings=NOTHING_LEFT) as running:
        yield running


@pytest.mark.parametrize("case", CASES)
def test_a_spent_budget_is_one_attempt(
    case: str, spent: GatewayProcess, provider: ScriptedProvider, clients: Path, tmp_path: Path
) -> None:
    program, _, name = case.partition("-")
    command = {
        "python": [clients / "venv" / "bin" / "python", SCRIPTS / "enforced_clients.py"],
        "node": [clients / "bin" / "node", SCRIPTS / "enforced_clients.cjs"],
    }[program]
    base = {
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "CLIENT_MODULES": str(clients / "npm"),
        **KEYS,
    }
    run = case.replace("_", "-")
    provider.clear()
    client = Program(
        [*map(str, command), name, "What now?"],
        spent.way().environment(run, base),
        folder=tmp_path,
    )
    told = json.loads(client.rest(60))["error"]
    assert client.end() == 0, client.errors
    assert (told["names"][0], told["status"]) == (CASES[case], 429)
    assert "budget" in told["message"]
    assert not provider.model_calls
    rows = spent.traces(run=run, count=2, seconds=2)  # a second attempt would be seen by then
    assert [(row["status"], row["error_code"]) for row in rows] == [(429, "cost_cap_exceeded")]
