from dataclasses import replace
from typing import Any

import pytest

from llmtrace.domain.parts import ORIGIN_OF, Part, Role
from llmtrace.limits.callfacts import CallFacts, call_facts
from llmtrace.limits.loops import NO_LOOP
from llmtrace.providers.base import RequestView, Route
from llmtrace.providers.registry import dialect


def facts_of(body: Any, *, operation: str = "chat", name: str = "anthropic.messages") -> CallFacts:
    route = Route(provider="p", dialect=name, operation=operation)
    view = dialect(name).request(body, route)
    return call_facts(id="1", tenant="t", agent="a", view=view, body=body, operation=operation)


def asked(text: str, **members: object) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **members}


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(asked("hi", metadata={"user_id": "session-2"}), id="user"),
        pytest.param(asked("hi", system="it is 12:03"), id="system"),
        pytest.param(asked("hi", max_tokens=9, temperature=0.3), id="parameters"),
        pytest.param(asked("hi", tools=[{"name": "x", "description": "y"}]), id="tools"),
    ],
)
def test_the_same_call_is_known_again(other: dict[str, Any]) -> None:
    first = facts_of(asked("hi", metadata={"user_id": "session-1"}, system="it is 12:00"))
    assert facts_of(other).request == first.request != ""


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(asked("ho"), id="text"),
        pytest.param(asked("hi") | {"model": "n"}, id="model"),
        pytest.param(
            asked("hi")
            | {
                "messages": [
                    *asked("hi")["messages"],
                    {"role": "assistant", "content": "a"},
                    {"role": "user", "content": "hi"},
                ]
            },
            id="longer",
        ),
        pytest.param(
            asked("hi")
            | {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "hi"},
                            {
                                "type": "image",
                                "source": {
                                    "type": "base64",
                                    "media_type": "image/png",
                                    "data": "aGk=",
                                },
                            },
                        ],
                    }
                ]
            },
            id="picture",
        ),
    ],
)
def test_another_call_is_told_apart(other: dict[str, Any]) -> None:
    assert facts_of(other).request != facts_of(asked("hi")).request


@pytest.mark.parametrize("at", [0, 5_000, 250_000, 499_999])
def test_long_texts_are_told_apart_by_their_ends(at: int) -> None:
    def view(text: str) -> RequestView:
        part = Part(role=Role.USER, origin=ORIGIN_OF[Role.USER], path=("x",), text=text)
        return RequestView(model="m", parts=[part])

    text = "x" * 500_000
    changed = text[:at] + "y" + text[at + 1 :]
    ends = at < 8_192 or at >= 500_000 - 8_192
    facts = [
        call_facts(id="1", tenant="t", agent="a", view=view(t), body={}) for t in (text, changed)
    ]
    assert (facts[0].request != facts[1].request) is ends


@pytest.mark.parametrize("operation", ["embeddings", "retrieve"])
def test_of_some_calls_the_same_again_is_ordinary(operation: str) -> None:
    assert facts_of(asked("hi"), operation=operation).request == ""


def test_what_costs_nothing_is_not_compared() -> None:
    view = replace(RequestView(parts=()), billable=False)
    assert call_facts(id="1", tenant="t", agent="a", view=view, body={}).request == ""


def test_a_history_at_the_provider_is_told_by_its_results() -> None:
    body = {
        "model": "m",
        "previous_response_id": "resp_1",
        "input": [{"type": "function_call_output", "call_id": "1", "output": "x"}],
    }
    facts = facts_of(body, name="openai.responses")
    assert facts.previous == "resp_1"
    assert facts.results
    assert facts.loop == NO_LOOP


@pytest.mark.parametrize("count", [4_095, 4_097, 20_001])
def test_long_histories_are_told_apart_by_their_number_and_their_end(count: int) -> None:
    def view(number: int, last: str = "x") -> RequestView:
        part = Part(role=Role.USER, origin=ORIGIN_OF[Role.USER], path=("x",), text="x")
        return RequestView(model="m", parts=[*[part] * (number - 1), replace(part, text=last)])

    views = [view(count), view(count), view(count + 1), view(count, "y")]
    told = [call_facts(id="1", tenant="t", agent="a", view=one, body={}).request for one in views]
    assert told[0] == told[1]
    assert len(set(told)) == 3
