"""Cohere's events add up to what the whole answer says."""

import json
from pathlib import Path
from typing import Any

import pytest

from llmtrace.domain.answers import Answer, AnswerEvent, Channel, ChannelKind, Failed
from llmtrace.domain.parts import Origin, Role
from llmtrace.providers.base import Frame, Json, Route
from llmtrace.providers.cohere import CohereChat
from llmtrace.providers.collector import AnswerCollector

EXAMPLE: dict[str, Any] = json.loads(
    (Path(__file__).parent / "examples" / "cohere.chat.json").read_text()
)
COHERE = CohereChat()
ROUTE = Route(provider="cohere", dialect="cohere.chat", operation="chat")


def put_together(events: list[AnswerEvent]) -> Answer:
    collector = AnswerCollector()
    collector.add(events)
    return collector.answer()


def stream(values: list[dict[str, Any]]) -> list[AnswerEvent]:
    reader = COHERE.reader()
    frames = [Frame(event=v["event"], data=json.dumps(v["data"]).encode()) for v in values]
    return [event for frame in frames for event in reader.receive(frame)] + reader.close()


def test_a_stream_says_what_the_whole_answer_says() -> None:
    streamed = put_together(stream(EXAMPLE["frames"]))
    assert streamed == put_together(COHERE.answer(EXAMPLE["answer"]))
    assert streamed.stop_reasons == ("TOOL_CALL",)


def test_the_plan_and_a_thinking_block_share_no_channel() -> None:
    texts = put_together(stream(EXAMPLE["frames"])).texts
    assert texts[Channel(0, ChannelKind.REASONING, 0)] == "I will look."
    assert texts[Channel(0, ChannelKind.REASONING, 1)] == "I think."


def test_a_stream_that_breaks_off_is_not_complete() -> None:
    assert not put_together(stream(EXAMPLE["frames"][:-1])).complete


def test_the_json_says_what_an_event_is() -> None:
    bare = [{**value, "event": ""} for value in EXAMPLE["frames"]]
    assert put_together(stream(bare)) == put_together(stream(EXAMPLE["frames"]))


def test_documents_and_results_are_not_trusted() -> None:
    view = COHERE.request(EXAMPLE["request"], ROUTE)
    untrusted = {p.text: p.role for p in view.parts if p.origin is Origin.UNTRUSTED}
    assert untrusted["found text"] is Role.USER
    assert untrusted["a plain text"] is Role.USER
    assert untrusted["clear today"] is Role.TOOL_RESULT
    assert [tool.name for tool in view.tools] == ["weather"]


def test_usage_is_cohere_s_own() -> None:
    usage = put_together(stream(EXAMPLE["frames"])).usage
    assert usage is not None
    assert usage["billed_units"] == {"input_tokens": 8, "output_tokens": 6}


@pytest.mark.parametrize(
    "body", [{"message": "invalid key"}, {"id": "e", "message": "invalid key"}]
)
def test_an_error_is_a_failure(body: Json) -> None:
    events = COHERE.answer(body)
    assert [e.message for e in events if isinstance(e, Failed)] == ["invalid key"]


def test_a_stream_can_end_in_an_error() -> None:
    written = COHERE.stream_error(code="c", message="Not today.")
    lines = written.decode().splitlines()
    frame = Frame(event="message-end", data=lines[1].removeprefix("data: ").encode())
    reader = COHERE.reader()
    assert Failed(code="", message="Not today.") in reader.receive(frame)
