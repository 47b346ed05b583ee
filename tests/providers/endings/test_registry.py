"""Every ending, after every frame of a stream."""

import json
from pathlib import Path
from typing import Any, Final

import pytest

from llmtrace.domain.answers import Answer, ChannelKind, Ended
from llmtrace.providers.base import Frame
from llmtrace.providers.collector import AnswerCollector
from llmtrace.providers.endings.registry import (
    CHUNK_CUTS,
    ENDINGS,
    WHOLE_ENDINGS,
    error_frames,
)
from llmtrace.providers.registry import DIALECTS

EXAMPLES: Final = Path(__file__).parents[1] / "examples"
WORDS: Final = "A tool call was refused, 😀 says the policy."
WORDLESS: Final = frozenset({"generic", "openai.embeddings"})
"""Dialects without an ending: they end in an error."""


def example(name: str) -> list[Frame]:
    loaded: dict[str, Any] = json.loads((EXAMPLES / f"{name}.json").read_text())
    return [
        Frame(
            event=one["event"],
            data=one["data"].encode()
            if isinstance(one["data"], str)
            else json.dumps(one["data"]).encode(),
            headers=one.get("headers", {}),
        )
        for one in loaded["frames"]
    ]


def ended(name: str, count: int, text: str, *, filtered: bool) -> tuple[Answer, str]:
    """End a stream after ``count`` frames; return what a client reads, before and after."""
    reader, ending = DIALECTS[name].reader(), ENDINGS[name]()
    collector = AnswerCollector()
    for frame in example(name)[:count]:
        events = reader.receive(frame)
        collector.add(events)
        ending.sent(frame, events)
    before = said(collector.answer())
    for frame in ending.end(text, filtered=filtered):
        json.loads(frame.data) if frame.data != b"[DONE]" else None
        collector.add(reader.receive(frame))
    collector.add(reader.close())
    return collector.answer(), before


def said(answer: Answer) -> str:
    return "".join(t for c, t in answer.texts.items() if c.kind is ChannelKind.TEXT)


def places() -> list[Any]:
    """Return every place in every example at which its answer has not ended."""
    found = []
    for name in ENDINGS:
        reader = DIALECTS[name].reader()
        for count, frame in enumerate([None, *example(name)]):
            if frame is not None and any(isinstance(e, Ended) for e in reader.receive(frame)):
                break
            found.append(pytest.param(name, count, id=f"{name}-{count}"))
    return found


def test_each_dialect_ends_in_some_way() -> None:
    assert DIALECTS.keys() - WORDLESS == ENDINGS.keys()
    assert ENDINGS.keys() >= WHOLE_ENDINGS.keys() >= CHUNK_CUTS.keys()


@pytest.mark.parametrize(("name", "count"), places())
@pytest.mark.parametrize("filtered", [False, True], ids=["stopped", "filtered"])
def test_an_answer_can_end_anywhere(name: str, count: int, filtered: bool) -> None:
    answer, before = ended(name, count, "", filtered=filtered)
    assert answer.complete
    assert answer.error is None
    assert answer.stop_reasons
    assert said(answer) == before


@pytest.mark.parametrize(("name", "count"), places())
def test_an_answer_can_say_why_it_ends(name: str, count: int) -> None:
    reader = DIALECTS[name].reader()
    stopped = any(
        type(event).__name__ == "Stopped"
        for frame in example(name)[:count]
        for event in reader.receive(frame)
    )
    answer, _ = ended(name, count, WORDS, filtered=False)
    assert stopped or any(WORDS in text for text in answer.texts.values())


@pytest.mark.parametrize("name", DIALECTS)
def test_every_dialect_can_end_in_its_error(name: str) -> None:
    frames = error_frames(DIALECTS[name], code="llmtrace_blocked", message="Not today.")
    collector = AnswerCollector()
    reader = DIALECTS[name].reader()
    for frame in frames:
        collector.add(reader.receive(frame))
    error = collector.answer().error
    assert error is not None
    assert error.message == "Not today."


@pytest.mark.parametrize("name", ["openai.responses", "openai.realtime"])
def test_an_error_can_be_told_without_its_name(name: str) -> None:
    (frame,) = error_frames(DIALECTS[name], code="llmtrace_blocked", message="Not today.")
    error = json.loads(frame.data)
    assert (error["type"], error["status"], error["code"]) == ("error", 400, "llmtrace_blocked")
    assert error["error"]["message"] == "Not today."
