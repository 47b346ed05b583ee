import json
from typing import Any

import pytest

from llmtrace.providers.base import Frame
from llmtrace.providers.endings.responses import (
    ITEM_ID,
    RealtimeEnding,
    ResponsesEnding,
    whole_responses,
)


def event(kind: str, **members: Any) -> Frame:
    return Frame(event=kind, data=json.dumps({"type": kind, **members}).encode())


ITEM = {"id": "i0", "type": "reasoning", "summary": []}
SENT = [
    event("response.created", response={"id": "r1", "model": "m", "output": []}, sequence_number=0),
    event("response.output_item.added", output_index=0, item=ITEM, sequence_number=1),
    event("response.output_item.done", output_index=0, item=ITEM, sequence_number=2),
]


def ended(
    ending: ResponsesEnding, *frames: Frame, text: str = "", filtered: bool = False
) -> list[Any]:
    for frame in frames:
        ending.sent(frame, ())
    return [json.loads(frame.data) for frame in ending.end(text, filtered=filtered)]


def test_the_text_is_an_item_with_all_its_events() -> None:
    ends = ended(ResponsesEnding(), *SENT, text="why")
    assert [one["type"].removeprefix("response.") for one in ends] == [
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [one["sequence_number"] for one in ends] == list(range(3, 10))
    assert {one.get("output_index", 1) for one in ends} == {1}
    response = ends[-1]["response"]
    assert (response["id"], response["model"], response["status"]) == ("r1", "m", "completed")
    assert [item["id"] for item in response["output"]] == ["i0", ITEM_ID]


def test_an_answer_that_is_filtered_is_incomplete() -> None:
    (end,) = ended(ResponsesEnding(), *SENT, filtered=True)
    assert end["type"] == "response.incomplete"
    assert end["response"]["incomplete_details"] == {"reason": "content_filter"}
    assert end["response"]["output"] == [ITEM]


def test_events_without_numbers_stay_without() -> None:
    (end,) = ended(ResponsesEnding(), event("response.created", response={"id": "r"}))
    assert "sequence_number" not in end


def test_a_response_fails_before_its_error_for_those_who_overlook_that() -> None:
    ending, error = ResponsesEnding(), Frame(event="error", data=b"{}")
    for sent in SENT:
        ending.sent(sent, ())
    failed, last = ending.fail(error, "why")
    assert last is error
    told = json.loads(failed.data)
    assert (failed.event, told["type"], told["sequence_number"]) == (*["response.failed"] * 2, 3)
    assert (told["response"]["id"], told["response"]["status"]) == ("r1", "failed")
    assert told["response"]["error"] == {"code": "invalid_prompt", "message": "why"}


@pytest.mark.parametrize("filtered", [False, True])
def test_a_session_has_one_word_for_the_end(filtered: bool) -> None:
    (end,) = ended(RealtimeEnding(), filtered=filtered)
    assert end["type"] == "response.done"


def test_a_whole_response_is_cut_at_the_call() -> None:
    output = [ITEM, {"type": "function_call", "id": "a"}, {"type": "shell_call", "id": "b"}]
    for keep in (0, 1):
        body: dict[str, Any] = {"id": "r", "output": output, "status": "completed"}
        whole_responses(body, "why", choice=0, keep=keep)
        assert body["output"][:-1] == output[: 1 + keep]
        assert body["output"][-1]["content"][0]["text"] == "why"
