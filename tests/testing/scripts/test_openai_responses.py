import json
from collections.abc import Callable
from typing import Any

import pytest

from llmtrace.testing.script import DEFAULT_TEXT, Script, ScriptedTool
from llmtrace.testing.scripts.openai_responses import (
    catalogue,
    entries,
    input_tokens,
    responses,
    retrieve,
    tools,
    turn,
)
from llmtrace.testing.wire import Entry, Reply, Request

type Ask = Callable[..., Request]
type Events = Callable[[Reply], list[dict[str, Any]]]

PATH = "/v1/responses"
STREAM = {"model": "gpt-5", "stream": True}
TOOL = ScriptedTool(name="exec", arguments="text(1)")


def test_the_events_of_a_text_are_in_order_and_numbered(ask: Ask, events: Events) -> None:
    found = events(responses(ask(PATH, STREAM), Script(chunks=1)))
    assert [event["type"] for event in found] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event["sequence_number"] for event in found] == list(range(9))


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(Script(), id="text"),
        pytest.param(Script(reasoning="hm hm"), id="reasoning"),
        pytest.param(Script(refusal="No."), id="refusal"),
        pytest.param(Script(tool_calls=(TOOL,)), id="tool"),
        pytest.param(Script(stop="max_output_tokens"), id="incomplete"),
    ],
)
def test_a_stream_ends_with_the_whole(ask: Ask, events: Events, script: Script) -> None:
    whole = json.loads(responses(ask(PATH, {"model": "gpt-5"}), script).body)
    found = events(responses(ask(PATH, STREAM), script))
    assert found[-1]["response"] == whole
    done = [event["item"] for event in found if event["type"] == "response.output_item.done"]
    assert done == whole["output"]
    assert found[-1]["type"] == f"response.{whole['status']}"


def test_a_custom_tool_gets_its_input_as_text(ask: Ask, events: Events) -> None:
    offered = {"type": "namespace", "tools": [{"type": "custom", "name": "exec"}]}
    body = STREAM | {"input": [{"type": "additional_tools", "tools": [offered]}]}
    assert "exec" in tools(body)
    found = events(responses(ask(PATH, body), Script(tool_calls=(TOOL,))))
    [item] = found[-1]["response"]["output"]
    assert (item["type"], item["input"]) == ("custom_tool_call", "text(1)")


def test_a_failure_in_mid_stream_ends_it(ask: Ask, events: Events) -> None:
    found = events(responses(ask(PATH, STREAM), Script(error_after=1)))
    assert found[-1]["type"] == "response.failed"


def test_a_socket_says_the_same_events(ask: Ask, events: Events) -> None:
    by_http = events(responses(ask(PATH, STREAM), Script()))
    by_socket = [json.loads(chunk.data) for chunk in turn(ask(PATH, STREAM), Script())]
    assert by_socket == by_http


def test_a_prewarm_costs_nothing(ask: Ask) -> None:
    chunks = turn(ask(PATH, {"generate": False}), Script())
    final = json.loads(chunks[-1].data)["response"]
    assert (final["output"], final["usage"]["total_tokens"]) == ([], 0)


def test_a_socket_reports_an_error(ask: Ask) -> None:
    [chunk] = turn(ask(PATH), Script(status=400))
    assert json.loads(chunk.data)["type"] == "error"


def test_an_input_is_read_with_its_tools() -> None:
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"type": "function_call", "name": "x"},
        {"type": "function_call_output", "output": "y"},
    ]
    assert entries({"input": items}) == [
        Entry("user", "hi"),
        Entry("assistant", ""),
        Entry("tool", ""),
    ]
    assert entries({"input": "hi"}) == [Entry("user", "hi")]


def test_a_response_can_be_had_again(ask: Ask) -> None:
    first = json.loads(responses(ask(PATH, {"model": "gpt-5"}), Script()).body)
    again = json.loads(retrieve(ask(f"{PATH}/{first['id']}"), Script()).body)
    assert (again["id"], again["usage"]) == (first["id"], first["usage"])
    assert again["output"][0]["content"][0]["text"] == DEFAULT_TEXT


def test_the_rest(ask: Ask) -> None:
    assert json.loads(input_tokens(ask(PATH), Script()).body)["input_tokens"] == 12
    assert json.loads(catalogue(ask(PATH), Script()).body) == {"models": []}


def test_an_answer_in_the_background_comes_later(ask: Ask) -> None:
    queued = json.loads(responses(ask(PATH, {"model": "gpt-5", "background": True}), Script()).body)
    assert (queued["status"], queued["output"], queued["usage"]) == ("queued", [], None)
    fetched = json.loads(retrieve(ask(f"{PATH}/{queued['id']}", {}), Script()).body)
    assert (fetched["id"], fetched["status"]) == (queued["id"], "completed")
