import base64
import json
from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer  # type: ignore[import-untyped]  # it ships none

from llmtrace.providers.base import Frame, Json
from llmtrace.providers.bedrock_answers import ConverseReader
from llmtrace.providers.bedrock_invoke_answers import InvokeReader
from llmtrace.providers.endings.base import Ending
from llmtrace.providers.endings.bedrock import (
    ConverseEnding,
    InvokeEnding,
    message_frame,
    whole_converse,
    whole_invoke,
)
from llmtrace.providers.framing.writers import EventStreamWriter


def ended(*frames: Frame, text: str = "", filtered: bool = False) -> list[tuple[str, Any]]:
    ending, reader = ConverseEnding(), ConverseReader()
    for frame in frames:
        ending.sent(frame, reader.receive(frame))
    return through_sdk(ending.end(text, filtered=filtered))


def through_sdk(frames: list[Frame]) -> list[tuple[str, Any]]:
    buffer = EventStreamBuffer()
    buffer.add_data(EventStreamWriter().write(frames))
    return [(m.headers[":event-type"], json.loads(m.payload)) for m in buffer]


START = message_frame("messageStart", {"role": "assistant"})


def test_an_open_block_is_closed_and_the_text_has_the_next_number() -> None:
    delta = message_frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "so"}})
    ends = ended(START, delta, text="why")
    assert ends[:4] == [
        ("contentBlockStop", {"contentBlockIndex": 0}),
        ("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"text": "why"}}),
        ("contentBlockStop", {"contentBlockIndex": 1}),
        ("messageStop", {"stopReason": "end_turn"}),
    ]
    assert ends[4][0] == "metadata"


def test_calls_that_were_sent_are_to_be_made() -> None:
    use: Json = {"toolUse": {"toolUseId": "t", "name": "f"}}
    opened = message_frame("contentBlockStart", {"contentBlockIndex": 0, "start": use})
    closed = message_frame("contentBlockStop", {"contentBlockIndex": 0})
    assert ended(START, opened, closed)[0] == ("messageStop", {"stopReason": "tool_use"})
    assert ended(START, filtered=True)[0] == ("messageStop", {"stopReason": "content_filtered"})


def test_a_message_that_has_not_begun_begins() -> None:
    assert ended(text="why")[0] == ("messageStart", {"role": "assistant"})


def packed(event: Any) -> Frame:
    return message_frame("chunk", {"bytes": base64.b64encode(json.dumps(event).encode()).decode()})


@pytest.mark.parametrize(
    ("first", "last"),
    [
        pytest.param(
            {"type": "message_start", "message": {}}, {"type": "message_stop"}, id="claude"
        ),
        pytest.param({"messageStart": {"role": "assistant"}}, "metadata", id="nova"),
        pytest.param({"choices": [{"delta": {"content": "a"}}]}, "choices", id="chat"),
        pytest.param({"generation": "a"}, "generation", id="llama"),
        pytest.param({"outputText": "a"}, "outputText", id="titan"),
    ],
)
def test_a_model_ends_in_its_own_format(first: Any, last: Any) -> None:
    ending: Ending = InvokeEnding()
    ending.sent(packed(first), InvokeReader().receive(packed(first)))
    *_, (_, end) = through_sdk(ending.end("why", filtered=False))
    inner = json.loads(base64.b64decode(end["bytes"]))
    assert inner == last if isinstance(last, dict) else last in inner


def test_a_frame_that_is_no_chunk_is_none() -> None:
    ending = InvokeEnding()
    ending.sent(message_frame("chunk", {"bytes": "%%"}), ())
    assert ending.end("", filtered=False)


CONTENT: list[Any] = [{"text": "so"}, {"toolUse": {"name": "a"}}, {"toolUse": {"name": "b"}}]


@pytest.mark.parametrize("keep", [0, 1])
def test_a_whole_message_is_cut_at_the_call(keep: int) -> None:
    for cut in (whole_converse, whole_invoke):
        body: dict[str, Any] = {"output": {"message": {"content": CONTENT}}}
        cut(body, "why", choice=0, keep=keep)
        assert body["output"]["message"]["content"] == [*CONTENT[: 1 + keep], {"text": "why"}]
        assert body["stopReason"] == ("tool_use" if keep else "end_turn")


def test_a_whole_answer_of_a_model_is_cut_in_its_own_format() -> None:
    chat: dict[str, Any] = {"choices": [{"message": {"tool_calls": [1]}}]}
    whole_invoke(chat, "why", choice=0, keep=0)
    assert chat["choices"][0]["message"] == {"content": "why"}
    claude: dict[str, Any] = {"type": "message", "content": [{"type": "tool_use"}]}
    whole_invoke(claude, "why", choice=0, keep=0)
    assert claude["content"] == [{"type": "text", "text": "why"}]
