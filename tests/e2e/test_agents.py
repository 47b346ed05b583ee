"""The real coding agents, each for one scripted turn with a tool call."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from llmtrace.testing.processes import GatewayProcess, Program, Way
from llmtrace.testing.provider import ScriptedProvider
from llmtrace.testing.script import AFTER_TOOL_TEXT
from llmtrace.testing.serving import Call

pytestmark = [pytest.mark.realclients, pytest.mark.timeout(240)]

SECONDS = 90
COMMAND = "echo tool-ran > ran.txt"
SHELL = f'@script: tool_call=%s {{"command": "{COMMAND}", "description": "run it"}}'
JAVASCRIPT = (
    f"@script: tool_call=exec \"const r = await tools.exec_command({{cmd: '{COMMAND}'}}); "
    'text(r.output)"'
)
CODEX = ("codex", "exec", "--skip-git-repo-check", "--sandbox", "danger-full-access")
OVER_HTTP = (
    *("-c", "model_provider=plain", "-c"),
    'model_providers.plain={name="plain", base_url="https://api.openai.com/v1", '
    'env_key="OPENAI_API_KEY", wire_api="responses", supports_websockets=false}',
)


@dataclass(frozen=True, kw_only=True)
class Agent:
    """An agent's command line, and what its traces must say."""

    id: str
    command: Sequence[str]
    keys: Mapping[str, str]
    provider: str
    dialect: str
    protocol: str
    client: str


AGENTS = (
    Agent(
        id="claude-code",
        command=("claude", "-p", SHELL % "Bash", "--allowedTools", "Bash"),
        keys={"ANTHROPIC_API_KEY": "sk-ant-fake"},
        provider="anthropic",
        dialect="anthropic.messages",
        protocol="http/1.1",
        client="claude-code",
    ),
    Agent(
        id="codex-over-websocket",
        command=(*CODEX, JAVASCRIPT),
        keys={"OPENAI_API_KEY": "sk-fake", "CODEX_API_KEY": "sk-fake"},
        provider="openai",
        dialect="openai.responses",
        protocol="websocket",
        client="codex",
    ),
    Agent(
        id="codex-over-http",
        command=(*CODEX, *OVER_HTTP, JAVASCRIPT),
        keys={"OPENAI_API_KEY": "sk-fake", "CODEX_API_KEY": "sk-fake"},
        provider="openai",
        dialect="openai.responses",
        protocol="h2",
        client="codex",
    ),
    Agent(
        id="gemini-cli",
        command=(
            *("gemini", "-p", SHELL % "run_shell_command"),
            *("--skip-trust", "-m", "gemini-2.5-flash", "--yolo"),
        ),
        keys={"GEMINI_API_KEY": "fake"},
        provider="gemini",
        dialect="gemini.generate",
        protocol="http/1.1",
        client="gemini-cli",
    ),
    Agent(
        id="opencode",
        command=("opencode", "run", "-m", "anthropic/claude-sonnet-4-5", SHELL % "bash"),
        keys={"ANTHROPIC_API_KEY": "sk-ant-fake"},
        provider="anthropic",
        dialect="anthropic.messages",
        protocol="http/1.1",
        client="opencode",
    ),
)
BY_ID = [agent.id for agent in AGENTS]


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What an agent said and did, and what the provider saw of it."""

    said: str
    calls: Sequence[Call]
    run: str


def _take_turn(
    agent: Agent, way: Way, provider: ScriptedProvider, clients: Path, folder: Path
) -> Turn:
    """Let an agent do its turn in a folder of its own; its tool must have run."""
    binaries = clients / "bin"
    if not (binaries / agent.command[0]).exists():
        pytest.fail("the agents are missing; run 'scripts/realclients install --agents' first")
    run = f"{agent.id}-{folder.name}"
    base = {
        "HOME": str(folder),
        "PATH": f"{binaries}:{os.environ['PATH']}",
        "LANG": "C.UTF-8",
        "TERM": "xterm-256color",
        **agent.keys,
    }
    provider.clear()
    program = Program(agent.command, way.environment(run, base), folder=folder)
    said = program.rest(SECONDS)
    assert program.end(5) == 0, program.errors
    assert (folder / "ran.txt").read_text() == "tool-ran\n"
    return Turn(said=said, calls=provider.model_calls, run=run)


@pytest.mark.parametrize("agent", AGENTS, ids=BY_ID)
def test_an_agent_works_without_a_gateway(
    agent: Agent, direct: Way, provider: ScriptedProvider, clients: Path, tmp_path: Path
) -> None:
    turn = _take_turn(agent, direct, provider, clients, tmp_path)
    assert AFTER_TOOL_TEXT in turn.said
    assert {call.protocol for call in turn.calls} == {agent.protocol}


@pytest.mark.parametrize("agent", AGENTS, ids=BY_ID)
def test_an_agent_works_the_same_behind_the_gateway(
    agent: Agent,
    behind: Way,
    gateway: GatewayProcess,
    provider: ScriptedProvider,
    clients: Path,
    tmp_path: Path,
) -> None:
    turn = _take_turn(agent, behind, provider, clients, tmp_path)
    assert AFTER_TOOL_TEXT in turn.said
    assert {call.protocol for call in turn.calls} == {agent.protocol}
    rows = gateway.traces(run=turn.run, count=len(turn.calls))
    calls = [row for row in rows if row["dialect"] == agent.dialect]
    assert len(calls) == len(turn.calls)
    for row in calls:
        status = 101 if agent.protocol == "websocket" else 200  # of the upgrade
        assert (row["provider"], row["status"]) == (agent.provider, status)
        assert (row["input_tokens"], row["output_tokens"]) == (12, 9)
        assert row["client"] == agent.client
