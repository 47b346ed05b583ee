"""The real coding agents behind a gateway that enforces: what they are kept from, and what not."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from llmtrace.testing.agents import AGENTS, Agent
from llmtrace.testing.planted import CANARY, INJECTION, SECRET
from llmtrace.testing.processes import GatewayProcess, Program, Way
from llmtrace.testing.provider import ScriptedProvider
from llmtrace.testing.script import AFTER_TOOL_TEXT
from llmtrace.testing.serving import Call

pytestmark = [pytest.mark.realclients, pytest.mark.timeout(180)]

SECONDS = 90
QUOTE = "quote=LLMT_[A-Z]+_[A-Z]{16}"  # some agents put a prompt in quotes, and escape its own
DESTRUCTION = "echo tool-ran > ran.txt; rm -rf /"
"""Harmless where it is run after all: rm refuses the root. What it writes first would tell."""
BEFORE = "All-is-well-so-far-and-the-words-go-on-for-a-while:"
REVERSED = [agent for agent in AGENTS if agent.base_url]
EACH = pytest.mark.parametrize("agent", AGENTS, ids=[agent.id for agent in AGENTS])


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What an agent said and did, what the provider saw of it, and what is on record.

    ``rows`` are its model calls: of a connection that carried none the upgrade is on record too.
    """

    said: str
    code: int
    calls: Sequence[Call]
    rows: Sequence[Mapping[str, Any]]
    folder: Path

    @property
    def sent(self) -> str:
        """All that the provider was told."""
        return "\n".join(call.body.decode() for call in self.calls)

    @property
    def verdicts(self) -> set[str]:
        """The verdicts on its model calls."""
        return {row["verdict"] for row in self.rows}

    @property
    def ran(self) -> str:
        """What the agent's tool has written, empty if it was never run."""
        written = self.folder / "ran.txt"
        return written.read_text() if written.exists() else ""


class Bench:
    """Lets agents take turns behind the gateway."""

    def __init__(
        self, gateway: GatewayProcess, provider: ScriptedProvider, clients: Path, folder: Path
    ) -> None:
        self._gateway, self._provider = gateway, provider
        self._binaries, self._folder = clients / "bin", folder
        self._way: Way = gateway.way()

    def turn(self, agent: Agent, prompt: str, *, by_base_url: bool = False) -> Turn:
        """Let an agent answer a prompt in the bench's folder, which is its home too."""
        if not (self._binaries / agent.command[0]).exists():
            pytest.fail("the agents are missing; run 'scripts/realclients install --agents' first")
        run = f"{agent.id}-{self._folder.name}"
        environment, command = agent.environment(self._binaries, self._folder), agent.asked(prompt)
        since = {row["trace_id"] for row in self._gateway.traces(count=0)}
        if by_base_url:
            variables, options = agent.behind(self._gateway.reverse_url)
            environment |= variables
            command[-1:-1] = options
        else:
            environment = self._way.environment(run, environment)
        self._provider.clear()
        program = Program(command, environment, folder=self._folder)
        said = program.rest(SECONDS)
        code = program.end(5)
        calls = self._provider.model_calls
        found = self._gateway.traces(count=1000, seconds=2)  # more would be seen by then
        rows = [row for row in found if row["trace_id"] not in since]
        return Turn(
            said=f"{said}\n{program.errors}",
            code=code,
            calls=calls,
            rows=[row for row in rows if row["dialect"] == agent.dialect and row["model"]],
            folder=self._folder,
        )


@pytest.fixture
def bench(
    enforcing: GatewayProcess, provider: ScriptedProvider, clients: Path, tmp_path: Path
) -> Bench:
    return Bench(enforcing, provider, clients, tmp_path)


@EACH
def test_an_ordinary_turn_is_undisturbed(agent: Agent, bench: Bench) -> None:
    turn = bench.turn(agent, f"@script: {agent.runs('echo tool-ran > ran.txt')}")
    assert turn.code == 0, turn.said
    assert AFTER_TOOL_TEXT in turn.said
    assert turn.ran == "tool-ran\n"
    assert turn.verdicts == {"allow"}
    assert len(turn.rows) == len(turn.calls) == agent.calls + 1


@EACH
def test_a_blocked_request_is_shown_after_one_attempt(agent: Agent, bench: Bench) -> None:
    turn = bench.turn(agent, INJECTION)
    assert turn.code != 0
    assert not turn.calls
    assert [(row["status"], row["verdict"]) for row in turn.rows] == [(400, "block")] * agent.calls
    shown = re.findall(r"prompt_injection.*?llmtrace findings show ([0-9a-f-]{36})", turn.said)
    assert shown, turn.said
    assert set(shown) <= {row["trace_id"] for row in turn.rows}


@EACH
def test_a_hidden_value_is_back_in_the_answer(agent: Agent, bench: Bench) -> None:
    turn = bench.turn(
        agent, f"The token is {SECRET} now. @script: chunks=29 {QUOTE} text=I:have:{{quote}}:here"
    )
    assert turn.code == 0, turn.said
    assert f"I:have:{SECRET}:here" in turn.said
    assert SECRET not in turn.sent
    assert "LLMT_TOKEN_" in turn.sent
    assert len(turn.calls) == agent.calls


@EACH
def test_a_hidden_value_is_back_in_what_the_agent_runs(agent: Agent, bench: Bench) -> None:
    command = agent.runs("echo {quote} > ran.txt")
    turn = bench.turn(agent, f"The token is {SECRET} now. @script: {QUOTE} {command}")
    assert turn.code == 0, turn.said
    assert turn.ran == f"{SECRET}\n"
    assert SECRET not in turn.sent


@EACH
def test_a_dangerous_command_is_never_run(agent: Agent, bench: Bench) -> None:
    turn = bench.turn(agent, f"@script: {agent.runs(DESTRUCTION)}")
    assert turn.code == 0, turn.said
    assert not turn.ran
    assert "LLMTrace blocked this tool call" in turn.said
    assert "dangerous_command" in turn.said
    assert "block" in turn.verdicts
    assert len(turn.calls) == len(turn.rows) == agent.calls


@EACH
def test_a_poisoned_page_is_set_aside_and_the_turn_goes_on(
    agent: Agent, bench: Bench, tmp_path: Path
) -> None:
    (tmp_path / "page.txt").write_text(f"Fine.\n\n{INJECTION}\n")
    turn = bench.turn(agent, f"@script: {agent.runs('cat page.txt')}")
    assert turn.code == 0, turn.said
    assert AFTER_TOOL_TEXT in turn.said
    assert INJECTION not in turn.sent
    assert "LLMTrace set this content aside" in turn.sent
    assert "quarantine" in turn.verdicts


@EACH
def test_an_answer_that_is_blocked_as_it_comes_is_not_asked_for_again(
    agent: Agent, bench: Bench
) -> None:
    turn = bench.turn(
        agent, f"Which word? @script: chunks=40 text={BEFORE}{CANARY}:and-nothing-comes-after"
    )
    assert "canary_leak" in turn.said
    assert CANARY not in turn.said.replace(f"{BEFORE}{CANARY}", "")  # but for the prompt's echo
    assert turn.verdicts == {"block"}
    assert len(turn.calls) == agent.calls


@pytest.mark.parametrize("agent", REVERSED, ids=[agent.id for agent in REVERSED])
def test_it_is_the_same_by_base_url(agent: Agent, bench: Bench) -> None:
    blocked = bench.turn(agent, INJECTION, by_base_url=True)
    assert not blocked.calls
    assert "prompt_injection" in blocked.said
    assert [(row["status"], row["verdict"]) for row in blocked.rows] == [(400, "block")]
    turn = bench.turn(agent, f"@script: {agent.runs(DESTRUCTION)}", by_base_url=True)
    assert not turn.ran
    assert "LLMTrace blocked this tool call" in turn.said
    assert len(turn.calls) == len(turn.rows) == agent.calls
