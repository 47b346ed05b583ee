import json
from typing import Any

import pytest

from llmtrace.providers.base import Frame
from llmtrace.providers.endings.gemini import GeminiEnding, cut_gemini, whole_gemini
from llmtrace.providers.gemini_answers import GeminiReader


def chunk(choice: int = 0, finish: str = "", *, wrapped: bool = False, **part: Any) -> Frame:
    candidate: dict[str, Any] = {"content": {"parts": [part], "role": "model"}, "index": choice}
    if finish:
        candidate["finishReason"] = finish
    body = {"candidates": [candidate], "modelVersion": "g", "responseId": "r", "usageMetadata": {}}
    return Frame(event="", data=json.dumps({"response": body} if wrapped else body).encode())


def ended(*frames: Frame, text: str = "", filtered: bool = False) -> Any:
    ending, reader = GeminiEnding(), GeminiReader()
    for frame in frames:
        ending.sent(frame, reader.receive(frame))
    (end,) = ending.end(text, filtered=filtered)
    return json.loads(end.data)


def test_one_chunk_ends_each_candidate_that_is_open() -> None:
    end = ended(chunk(0, text="a"), chunk(1, text="b"), chunk(0, "STOP", text="c"), text="why")
    assert end["candidates"] == [
        {
            "content": {"parts": [{"text": "why"}], "role": "model"},
            "finishReason": "STOP",
            "index": 1,
        }
    ]
    assert (end["modelVersion"], end["responseId"]) == ("g", "r")


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_end_is_wrapped_as_the_chunks_are(wrapped: bool) -> None:
    end = ended(chunk(text="a", wrapped=wrapped), filtered=True)
    inner = end["response"] if wrapped else end
    assert inner["candidates"][0]["finishReason"] == "SAFETY"


@pytest.mark.parametrize("wrapped", [False, True])
def test_an_error_ends_each_candidate_for_those_who_overlook_it(wrapped: bool) -> None:
    ending, first = GeminiEnding(), chunk(text="a", wrapped=wrapped)
    ending.sent(first, GeminiReader().receive(first))
    (end,) = ending.fail(Frame(event="", data=b'{"error": {"code": 400}}'), "why")
    told = json.loads(end.data)
    assert told["error"] == {"code": 400}
    (candidate,) = (told["response"] if wrapped else told)["candidates"]
    assert candidate["content"]["parts"] == [{"text": "why"}]
    assert candidate["finishReason"] == "SAFETY"


PARTS = [{"text": "so"}, {"functionCall": {"name": "a"}}, {"functionCall": {"name": "b"}}]


def body() -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": [*PARTS]}, "finishReason": "STOP"}]}


@pytest.mark.parametrize("keep", [0, 1])
def test_a_whole_answer_is_cut_at_the_call(keep: int) -> None:
    whole = body()
    whole_gemini(whole, "why", choice=0, keep=keep)
    (candidate,) = whole["candidates"]
    assert candidate["content"]["parts"] == [*PARTS[: 1 + keep], {"text": "why"}]


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_chunk_keeps_what_stands_before_the_call(wrapped: bool) -> None:
    inner = body()
    cut_gemini({"response": inner} if wrapped else inner, choice=0, keep=0)
    assert inner["candidates"] == [{"content": {"parts": PARTS[:1]}}]
    cut_gemini({"candidates": []}, choice=0, keep=0)
