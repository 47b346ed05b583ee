"""The real coding agents, each for one scripted turn with a tool call."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from llmtrace.testing.agents import AGENTS, Agent
from llmtrace.testing.processes import GatewayProcess, Program, Way
from llmtrace.testing.provider import ScriptedProvider
from llmtrace.testing.script import AFTER_TOOL_TEXT
from llmtrace.testing.serving import Call

pytestmark = [pytest.mark.realclients, pytest.mark.timeout(240)]

SECONDS = 90
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
    environment = way.environment(run, agent.environment(binaries, folder))
    command = agent.asked(f"@script: {agent.runs('echo tool-ran > ran.txt')}")
    provider.clear()
    program = Program(command, environment, folder=folder)
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
