from pathlib import Path

import pytest

from llmtrace.testing.agents import AGENTS, Agent
from llmtrace.testing.script import directive

COMMAND = 'printf "%s" done > ran.txt'


@pytest.mark.parametrize("agent", AGENTS, ids=[agent.id for agent in AGENTS])
def test_an_agent_is_asked_to_run_a_command(agent: Agent) -> None:
    script = directive(f"@script: {agent.runs(COMMAND)}")
    assert script is not None
    (call,) = script.tool_calls
    assert call.name == agent.tool
    assert "ran.txt" in call.arguments
    assert call.arguments.startswith("const r" if agent.scripted else "{")


@pytest.mark.parametrize("agent", AGENTS, ids=[agent.id for agent in AGENTS])
def test_its_command_line_has_the_prompt_once(agent: Agent) -> None:
    assert agent.asked("What now?").count("What now?") == 1


def test_base_url_mode_is_a_variable_or_an_option() -> None:
    behind = {agent.id: agent.behind("http://gate") for agent in AGENTS}
    assert behind["claude-code"] == ({"ANTHROPIC_BASE_URL": "http://gate/anthropic"}, ())
    assert behind["codex-over-websocket"][1][-1] == 'openai_base_url="http://gate/openai/v1"'
    assert behind["gemini-cli"] == ({}, [])


def test_it_has_its_key_and_nothing_of_ours(tmp_path: Path) -> None:
    environment = AGENTS[0].environment(tmp_path / "bin", tmp_path)
    assert environment["HOME"] == str(tmp_path)
    assert environment["PATH"].startswith(f"{tmp_path / 'bin'}:")
    assert environment["ANTHROPIC_API_KEY"]
    assert not [name for name in environment if name.startswith("LLMTRACE")]
