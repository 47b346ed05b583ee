"""Ordinary work of agents, as their clients send it: none of it may so much as be told of."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from llmtrace.domain.traces import Outcome
from llmtrace.domain.usage import Usage
from llmtrace.limits.callfacts import CallFacts, call_facts
from llmtrace.limits.runaway import GuardSettings, GuardVerdict, RunawayGuard
from llmtrace.limits.tally import MemoryTally
from llmtrace.providers.base import Route
from llmtrace.providers.registry import dialect
from llmtrace.testing.records import a_trace

START = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


class Bench:
    """A guard that stops, and a clock that moves by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.events: list[str] = []
        self.number = 0
        self.guard = RunawayGuard(
            GuardSettings(stops=True),
            MemoryTally(lambda: START + timedelta(seconds=self.seconds)),
            on_event=lambda name, label: self.events.append(f"{name}.{label}"),
            clock=lambda: self.seconds,
        )

    def answer(self, asked: CallFacts, **changes: Any) -> None:
        values: dict[str, Any] = {
            "status": 200,
            "cost_nano_usd": 1_000,
            "usage": Usage(input_tokens=5_000),
        }
        trace = a_trace(**(values | changes))
        self.guard.after(replace(trace, trace_id=asked.id, tenant=asked.tenant, agent=asked.agent))

    @property
    def quiet(self) -> bool:
        return not self.events


def real(bench: Bench, body: dict[str, Any], *, operation: str = "chat", **answer: Any) -> None:
    """A call with a body as a client sends it."""
    asked = prepared(bench, body, operation=operation)
    assert bench.guard.observe(asked) == GuardVerdict()
    bench.seconds += 4
    bench.answer(asked, **answer)


def prepared(bench: Bench, body: dict[str, Any], *, operation: str = "chat") -> CallFacts:
    name = "openai.embeddings" if operation == "embeddings" else "anthropic.messages"
    route = Route(provider="p", dialect=name, operation=operation)
    view = dialect(name).request(body, route)
    bench.number += 1
    return call_facts(
        id=f"call-{bench.number}",
        tenant="acme",
        agent="builder",
        view=view,
        body=body,
        conversation="c",
        operation=operation,
    )


def turns(steps: Sequence[tuple[str, object, str]], task: str = "fix the tests") -> Iterable[Any]:
    """Each request of a conversation in which an agent takes these steps."""
    messages: list[Any] = [{"role": "user", "content": task}]
    yield {"model": "m", "messages": list(messages)}
    for n, (tool, arguments, result) in enumerate(steps):
        use = {"type": "tool_use", "id": f"toolu_{n}", "name": tool, "input": arguments}
        back = {"type": "tool_result", "tool_use_id": f"toolu_{n}", "content": result}
        messages += [
            {"role": "assistant", "content": [use]},
            {"role": "user", "content": [back]},
        ]
        yield {"model": "m", "messages": list(messages)}


def coding() -> list[tuple[str, object, str]]:
    """Read, edit, test: forty rounds, with the same test command and the same failure."""
    steps: list[tuple[str, object, str]] = []
    for n in range(40):
        steps += [
            ("Read", {"path": "a.py", "offset": n * 100}, f"lines {n}"),
            ("Edit", {"path": "a.py", "old": f"{n}", "new": f"{n + 1}"}, "done"),
            ("Bash", {"command": "pytest -q"}, "1 failed"),
        ]
    return steps


def polling() -> list[tuple[str, object, str]]:
    """A build that is looked after until it ends; what it says grows."""
    return [("Bash", {"command": "gh run view"}, f"step {n} of 60") for n in range(60)]


def waiting() -> list[tuple[str, object, str]]:
    """A build that says the same for a while."""
    looks = [("Bash", {"command": "gh run view"}, "running")] * 8
    return [*looks, ("Bash", {"command": "gh run view"}, "passed")] * 4


@pytest.mark.parametrize(
    "steps", [coding(), polling(), waiting()], ids=["coding", "polling", "waiting"]
)
def test_turns_of_an_agent(steps: Sequence[tuple[str, object, str]]) -> None:
    bench = Bench()
    for body in turns(steps):
        real(bench, body)
    assert bench.quiet


def test_tasks_one_after_the_other_with_the_same_beginning() -> None:
    bench = Bench()
    for n in range(100):
        for body in turns([("Read", {"path": f"{n}"}, "text")], task=f"summarise file {n}"):
            real(bench, body)
    assert bench.quiet


def test_sub_agents_side_by_side_with_the_same_prompt() -> None:
    bench = Bench()
    for _ in range(5):
        asked = [prepared(bench, next(iter(turns([])))) for _ in range(97)]
        for one in asked:
            assert bench.guard.observe(one) == GuardVerdict()
        bench.seconds += 30
        for one in asked:
            bench.answer(one)
    assert bench.quiet


@pytest.mark.parametrize(
    "failed",
    [
        pytest.param({"status": 529}, id="overloaded"),
        pytest.param({"status": 429}, id="rate-limited"),
        pytest.param({"status": None, "outcome": Outcome.CONNECT_FAILED}, id="not-reached"),
        pytest.param({"status": None, "outcome": Outcome.TIMEOUT}, id="no-answer"),
    ],
)
def test_retries_of_what_was_not_answered(failed: dict[str, Any]) -> None:
    bench = Bench()
    body = next(iter(turns([])))
    for _ in range(200):
        real(bench, body, **failed)
    real(bench, body)
    assert bench.quiet


def test_embeddings_of_a_batch() -> None:
    bench = Bench()
    for n in range(500):
        body = {"model": "text-embedding-3-small", "input": ["ping" if n % 2 else f"{n}"]}
        real(bench, body, operation="embeddings")
    assert bench.quiet


def test_a_check_whether_the_model_is_there() -> None:
    bench = Bench()
    for _ in range(500):
        real(
            bench, next(iter(turns([], task="ping"))), usage=Usage(input_tokens=9, output_tokens=1)
        )
    assert bench.quiet


def test_the_same_question_now_and_then() -> None:
    bench = Bench()
    for _ in range(100):
        real(bench, next(iter(turns([], task="what is new?"))))
        bench.seconds += 70
    assert bench.quiet
