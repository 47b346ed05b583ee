"""Each answer is read whole and as a stream by the real dialects, and its usage from that."""

from typing import Any

import orjson
import pytest

from llmtrace.domain.usage import Usage
from llmtrace.providers.base import Frame, Json
from llmtrace.providers.collector import AnswerCollector
from llmtrace.providers.registry import dialect
from llmtrace.providers.tooluses import MAX_USES, ToolUses, pictures
from llmtrace.providers.usage import read_usage


def of_whole(provider: str, name: str, body: Json, model: str = "") -> Usage | None:
    collector = AnswerCollector()
    collector.add(dialect(name).answer(body))
    return read_usage(provider, name, collector.answer().usage, model)


def of_stream(provider: str, name: str, *events: Json) -> Usage | None:
    collector, reader = AnswerCollector(), dialect(name).reader()
    for event in events:
        collector.add(reader.receive(Frame(event="", data=orjson.dumps(event))))
    collector.add(reader.close())
    return read_usage(provider, name, collector.answer().usage)


ITEMS: list[Json] = [
    {"type": "web_search_call", "id": "a", "action": {"type": "search", "query": "q"}},
    {"type": "web_search_call", "id": "b", "action": {"type": "open_page", "url": "u"}},
    {"type": "web_search_call", "id": "c", "status": "completed"},
    {"type": "file_search_call", "id": "d", "queries": ["q"]},
    {"type": "code_interpreter_call", "id": "e", "code": "1", "container_id": "c"},
    {"type": "image_generation_call", "id": "f", "result": "aGk="},
    {"type": "function_call", "id": "g", "name": "web_search_call", "arguments": "{}"},
]
RESPONSE: dict[str, Json] = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "model": "gpt-5",
    "output": ITEMS,
    "usage": {"input_tokens": 10, "output_tokens": 5},
}
USED = Usage(
    input_tokens=10,
    output_tokens=5,
    web_searches=2,
    file_searches=1,
    code_executions=1,
    generated_images=1,
)


def test_the_items_of_a_response_are_uses() -> None:
    assert of_whole("openai", "openai.responses", RESPONSE) == USED


@pytest.mark.parametrize("output", [ITEMS, []], ids=["said-again", "said-once"])
def test_a_streamed_item_counts_once(output: list[Json]) -> None:
    items: list[Json] = [
        {"type": f"response.output_item.{stage}", "output_index": index, "item": item}
        for index, item in enumerate(ITEMS)
        for stage in ("added", "done")
    ]
    response: dict[str, Json] = {**RESPONSE, "output": output}
    end: Json = {"type": "response.completed", "response": response}
    assert of_stream("openai", "openai.responses", *items, end) == USED


def test_a_stream_that_breaks_off_tells_no_usage() -> None:
    item: Json = {"type": "response.output_item.done", "output_index": 5, "item": ITEMS[5]}
    assert of_stream("openai", "openai.responses", item) is None


def test_what_openai_counts_itself_comes_first() -> None:
    body: dict[str, Json] = {**RESPONSE, "tool_usage": {"web_search": {"num_requests": 7}}}
    usage = of_whole("openai", "openai.responses", body)
    assert usage is not None
    assert usage.web_searches == 7


def claude(*names: tuple[str, str]) -> dict[str, Json]:
    content: list[Json] = [
        {"type": kind, "id": f"t{index}", "name": name, "input": {}}
        for index, (kind, name) in enumerate(names)
    ]
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": content,
        "stop_reason": "end_turn",
        "usage": {
            "input_tokens": 3,
            "output_tokens": 4,
            "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 1},
        },
    }


def test_claude_runs_code_in_its_own_container() -> None:
    body = claude(
        ("server_tool_use", "bash_code_execution"),
        ("server_tool_use", "code_execution"),
        ("server_tool_use", "web_search"),
        ("tool_use", "code_execution"),  # the client's own
    )
    assert of_whole("anthropic", "anthropic.messages", body) == Usage(
        input_tokens=3, output_tokens=4, web_searches=2, web_fetches=1, code_executions=2
    )


def gemini(**candidate: Json) -> dict[str, Json]:
    return {
        "candidates": [{"index": 0, "content": {"parts": [{"text": "x"}]}, **candidate}],
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4},
    }


def test_google_says_a_query_again_in_each_chunk() -> None:
    first = gemini(groundingMetadata={"webSearchQueries": ["a", "b", ""]})
    last = gemini(
        groundingMetadata={
            "webSearchQueries": ["b", "c"],
            "groundingChunks": [{"maps": {"title": "t"}}, {"maps": {"title": "u"}}],
        },
        finishReason="STOP",
    )
    assert of_stream("gemini", "gemini.generate", first, last) == Usage(
        input_tokens=3, output_tokens=4, web_searches=3, map_searches=1
    )


def test_gemini_runs_code() -> None:
    body = gemini(content={"parts": [{"executableCode": {"code": "1", "language": "PYTHON"}}]})
    usage = of_whole("gemini", "gemini.generate", body)
    assert usage == Usage(input_tokens=3, output_tokens=4, code_executions=1)


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ({"created": 1, "data": [{"b64_json": "aGk="}, {"url": "https://x/y"}]}, 2),
        ({"created": 1, "data": [{"b64_json": "aGk="}], "usage": {"input_tokens": 3}}, 0),
        ({"data": [{"url": "https://x/y"}]}, 0),
        ({"created": 1, "data": "b64_json"}, 0),
    ],
    ids=["counted", "told-in-tokens", "no-pictures", "no-list"],
)
def test_pictures_count_where_no_tokens_are_told(body: dict[str, Any], count: int) -> None:
    usage = of_whole("openai", "generic", body)
    assert (usage.generated_images if usage else 0) == count
    assert bool(pictures(body)) == bool(count)


@pytest.mark.parametrize(
    "body", [{"groundingMetadata": []}, {"groundingMetadata": {"webSearchQueries": [1, {}]}}]
)
def test_odd_grounding_is_no_use(body: dict[str, Json]) -> None:
    assert ToolUses().grounding(body) == []


def test_uses_are_bounded() -> None:
    uses = ToolUses()
    events = [event for _ in range(MAX_USES + 5) for event in uses.use("web_search")]
    assert len(events) == MAX_USES
