import json
from typing import Any

from llmtrace.domain.answers import Channel, ChannelKind, ToolCallOpened
from llmtrace.providers.base import Frame
from llmtrace.providers.endings.cohere import CohereEnding, whole_cohere


def event(kind: str, **members: Any) -> Frame:
    return Frame(
        event=kind, data=json.dumps({"type": kind, **members}, separators=(",", ":")).encode()
    )


def test_an_open_block_is_closed_and_the_text_has_the_next_number() -> None:
    ending = CohereEnding()
    ending.sent(event("content-start", index=0), ())
    ends = [json.loads(frame.data) for frame in ending.end("why", filtered=False)]
    assert [(one["type"], one.get("index")) for one in ends] == [
        ("content-end", 0),
        ("content-start", 1),
        ("content-delta", 1),
        ("content-end", 1),
        ("message-end", None),
    ]
    assert ends[-1]["delta"]["finish_reason"] == "COMPLETE"


def test_calls_that_were_sent_are_to_be_made() -> None:
    ending = CohereEnding()
    channel = Channel(0, ChannelKind.TOOL_CALL)
    opened = ToolCallOpened(channel=channel, call_id="t", name="f")
    ending.sent(event("tool-call-start", index=0), [opened])
    (end,) = ending.end("", filtered=False)
    assert json.loads(end.data)["delta"]["finish_reason"] == "TOOL_CALL"


def test_a_whole_answer_keeps_its_first_calls() -> None:
    body: dict[str, Any] = {"message": {"tool_calls": [1, 2], "content": []}}
    whole_cohere(body, "why", choice=0, keep=1)
    assert body["message"] == {"tool_calls": [1], "content": [{"type": "text", "text": "why"}]}
    assert body["finish_reason"] == "TOOL_CALL"
    whole_cohere(body, "why", choice=0, keep=0)
    assert body["finish_reason"] == "COMPLETE"
