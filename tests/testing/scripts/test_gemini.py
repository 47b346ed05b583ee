import json
from collections.abc import Callable
from typing import Any

from llmtrace.testing.script import DEFAULT_TEXT, Script, ScriptedTool
from llmtrace.testing.scripts.gemini import (
    count_tokens,
    embed,
    entries,
    error,
    generate,
    stream,
)
from llmtrace.testing.wire import Entry, Reply, Request

type Ask = Callable[..., Request]
type Events = Callable[[Reply], list[dict[str, Any]]]

PATH = "/v1beta/models/gemini-2.5-flash"


def texts(values: list[dict[str, Any]], *, thought: bool = False) -> str:
    parts = [part for value in values for part in value["candidates"][0]["content"]["parts"]]
    return "".join(part["text"] for part in parts if bool(part.get("thought")) is thought)


def test_events_and_array_say_the_same_as_the_whole(ask: Ask, events: Events) -> None:
    script = Script(reasoning="hm", chunks=3)
    whole = json.loads(generate(ask(f"{PATH}:generateContent"), script).body)
    by_event = events(stream(ask(f"{PATH}:streamGenerateContent", alt="sse"), script))
    by_array = json.loads(stream(ask(f"{PATH}:streamGenerateContent"), script).body)
    assert by_event == by_array
    assert texts(by_event) == texts([whole]) == DEFAULT_TEXT
    assert texts(by_event, thought=True) == "hm"
    finished = ["finishReason" in value["candidates"][0] for value in by_event]
    assert finished == [False, False, False, True]
    assert whole["modelVersion"] == "gemini-2.5-flash"


def test_tool_calls_have_parsed_arguments(ask: Ask) -> None:
    script = Script(tool_calls=(ScriptedTool(name="ls", arguments='{"path": "/"}'),))
    whole = json.loads(generate(ask(PATH), script).body)
    assert whole["candidates"][0]["content"]["parts"] == [
        {"functionCall": {"name": "ls", "args": {"path": "/"}}}
    ]


def test_thoughts_are_no_part_of_the_candidates_count(ask: Ask) -> None:
    script = Script(output_tokens=9, reasoning_tokens=4, cached=5)
    usage = json.loads(generate(ask(PATH), script).body)["usageMetadata"]
    assert (usage["candidatesTokenCount"], usage["thoughtsTokenCount"]) == (5, 4)
    assert (usage["cachedContentTokenCount"], usage["totalTokenCount"]) == (5, 21)


def test_an_error_in_mid_stream_ends_it(ask: Ask) -> None:
    values = json.loads(stream(ask(PATH), Script(error_after=1)).body)
    assert [next(iter(value)) for value in values] == ["candidates", "error"]


def test_function_responses_are_a_tools_word() -> None:
    body = {
        "contents": [
            {"role": "user", "parts": [{"text": "hi"}]},
            {"role": "model", "parts": [{"functionCall": {"name": "ls"}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "ls"}}]},
        ]
    }
    assert entries(body) == [Entry("user", "hi"), Entry("assistant", ""), Entry("tool", "")]


def test_the_rest(ask: Ask) -> None:
    assert json.loads(count_tokens(ask(PATH), Script()).body) == {"totalTokens": 12}
    assert "embedding" in json.loads(embed(ask(f"{PATH}:embedContent"), Script()).body)
    batch = embed(ask(f"{PATH}:batchEmbedContents", {"requests": [{}, {}]}), Script())
    assert len(json.loads(batch.body)["embeddings"]) == 2
    assert error(Script(status=429), "m")["error"]["status"] == "RESOURCE_EXHAUSTED"
