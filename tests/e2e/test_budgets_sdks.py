"""Unmodified SDKs on an exhausted budget: they stop after one attempt, and say why."""

import json
import os
from pathlib import Path

import pytest

from llmtrace.testing.processes import GatewayProcess, Program
from llmtrace.testing.provider import ScriptedProvider

pytestmark = pytest.mark.realclients

SCRIPT = Path(__file__).parent / "clients" / "limited_clients.py"
KEYS = {"OPENAI_API_KEY": "sk-fake", "ANTHROPIC_API_KEY": "sk-ant-fake"}
CAPS = {
    "cost_caps": {
        "enabled": True,
        "default_budget_caps": [{"window": "daily", "hard_limit_usd": "0.00001"}],
    }
}


@pytest.mark.parametrize("sdk", ["openai", "anthropic"])
def test_an_sdk_stops_after_one_attempt_on_an_exhausted_budget(
    clients: Path, provider: ScriptedProvider, tmp_path: Path, sdk: str
) -> None:
    provider.clear()
    hosts = ("api.openai.com", "api.anthropic.com")
    with GatewayProcess(tmp_path / "gateway", provider, hosts, settings=CAPS) as gateway:
        environment = gateway.way().environment("run", {**os.environ, **KEYS})
        program = Program(
            [str(clients / "venv" / "bin" / "python"), str(SCRIPT), sdk],
            environment,
            folder=tmp_path,
        )
        said = program.rest(60)
        assert program.end() == 0, program.errors
        traces = gateway.traces(count=2, seconds=3)
    told = json.loads(said)
    assert told["error"] == "RateLimitError"
    assert told["code"] == "cost_cap_exceeded"
    assert "LLMTrace refused this call" in told["message"]
    assert [trace["outcome"] for trace in traces] == ["refused"]
    assert provider.model_calls == []
