"""OpenAI Realtime: what a response answers to, whoever asked for it."""

import json
from typing import Any

import pytest

from llmtrace.domain.answers import TextDelta, Unread, UsageSeen
from llmtrace.domain.parts import Role
from llmtrace.domain.traces import Outcome
from llmtrace.providers import realtime_session
from llmtrace.providers.base import Route
from llmtrace.providers.openai_responses import OpenAIRealtime
from llmtrace.providers.realtime_session import RealtimeSession
from llmtrace.providers.websocket import (
    CallEnded,
    CallEvents,
    CallInput,
    CallStarted,
    Chatter,
    SessionEvent,
)


def message(kind: str, **fields: Any) -> str:
    return json.dumps({"type": kind, **fields})


def item(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


def started(events: list[SessionEvent]) -> CallStarted:
    [found] = [event for event in events if isinstance(event, CallStarted)]
    return found


def created(response_id: str = "r1") -> str:
    return message("response.created", response={"id": response_id, "status": "in_progress"})


def done(response_id: str = "r1", **fields: Any) -> str:
    return message("response.done", response={"id": response_id, "status": "completed", **fields})


CREATE = message("response.create")
TRANSCRIBED = message(
    "conversation.item.input_audio_transcription.completed", item_id="i", transcript="Spoken words"
)


def test_a_call_has_what_came_before_it() -> None:
    session = RealtimeSession("gpt-realtime")
    tool = {"type": "function", "name": "f", "description": "Does f"}
    session.from_client(message("session.update", session={"instructions": "Be", "tools": [tool]}))
    session.from_client(message("conversation.item.create", item=item("Hello")))
    call = started(session.from_client(CREATE))
    assert call.request == {
        "model": "gpt-realtime",
        "instructions": "Be",
        "tools": [tool],
        "input": [item("Hello")],
    }
    route = Route(provider="openai", dialect="openai.realtime", operation="realtime")
    view = OpenAIRealtime().request(call.request, route)
    assert [(part.role, part.text) for part in view.parts] == [
        (Role.SYSTEM, "Be"),
        (Role.TOOL_DESCRIPTION, "f"),
        (Role.TOOL_DESCRIPTION, "Does f"),
        (Role.USER, "Hello"),
    ]


def test_the_next_call_has_the_session_but_not_the_items_again() -> None:
    session = RealtimeSession()
    session.from_client(message("session.update", session={"instructions": "Be"}))
    session.from_client(message("conversation.item.create", item=item("Hello")))
    session.from_client(CREATE)
    session.from_server(created())
    session.from_server(done())
    session.from_client(message("conversation.item.create", item=item("Again")))
    call = started(session.from_client(CREATE))
    assert call.request == {"instructions": "Be", "input": [item("Again")]}


def test_what_a_response_is_given_goes_before_the_session() -> None:
    session = RealtimeSession()
    session.from_client(message("session.update", session={"instructions": "Be"}))
    given = {"instructions": "Do not", "input": [item("Own")], "conversation": "none"}
    call = started(session.from_client(message("response.create", response=given)))
    assert call.request == given


def test_a_response_that_nobody_asked_for_is_a_call() -> None:
    session = RealtimeSession()
    session.from_client(message("input_audio_buffer.append", audio="A" * 40))
    session.from_server(TRANSCRIBED)
    call = started(session.from_server(created()))
    assert call.unread == (Unread(reason="media", size=30),)
    assert "Spoken words" in str(call.request)
    assert session.from_server(done())[-1] == CallEnded(call=1, outcome=Outcome.OK)


def test_a_transcript_that_comes_late_is_of_the_call_that_runs() -> None:
    session = RealtimeSession()
    session.from_server(created())
    [more] = session.from_server(TRANSCRIBED)
    assert isinstance(more, CallInput)
    assert (more.call, "Spoken words" in str(more.request)) == (1, True)


def test_events_find_their_response() -> None:
    session = RealtimeSession()
    for response_id in ("a", "b"):
        session.from_server(created(response_id))
    for response_id, text in (("b", "B"), ("a", "A")):
        delta = message("response.output_text.delta", response_id=response_id, delta=text)
        [events] = session.from_server(delta)
        assert isinstance(events, CallEvents)
        [found] = events.events
        assert isinstance(found, TextDelta)
        assert (events.call, found.text) == ({"a": 1, "b": 2}[response_id], text)
    assert session.from_server(done("b"))[-1] == CallEnded(call=2, outcome=Outcome.OK)


def test_usage_is_in_the_last_word() -> None:
    session = RealtimeSession()
    session.from_server(created())
    events = session.from_server(done(usage={"input_tokens": 3}))
    assert isinstance(events[0], CallEvents)
    assert UsageSeen(raw={"input_tokens": 3}) in events[0].events


@pytest.mark.parametrize(("about", "ends"), [("e1", True), (None, True), ("other", False)])
def test_an_error_ends_the_call_that_it_is_about(about: str | None, ends: bool) -> None:
    session = RealtimeSession()
    session.from_client(message("response.create", event_id="e1"))
    error = message("error", error={"message": "No", "event_id": about})
    ended = [e for e in session.from_server(error) if isinstance(e, CallEnded)]
    assert bool(ended) is ends


def test_an_event_of_no_call_is_to_be_read() -> None:
    delta = message("response.output_text.delta", response_id="gone", delta="x y")
    [chatter] = RealtimeSession().from_server(delta)
    assert isinstance(chatter, Chatter)
    assert chatter.body == json.loads(delta)


def test_the_session_says_its_model() -> None:
    session = RealtimeSession("asked")
    session.from_server(message("session.created", session={"model": "answered"}))
    assert "answered" in str(started(session.from_client(CREATE)).request)


def test_what_is_carried_is_bounded_and_the_rest_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(realtime_session, "MAX_CARRIED", 200)
    session = RealtimeSession()
    for _ in range(4):
        session.from_client(message("conversation.item.create", item=item("Hello")))
    session.from_client(message("session.update", session={"instructions": "x" * 300}))
    call = started(session.from_client(CREATE))
    assert isinstance(call.request, dict)
    assert len(str(call.request)) < 400
    [gap] = call.unread
    assert gap.reason == "too_large"
    assert gap.size > 300


def test_sound_and_signals_have_nothing_to_read() -> None:
    session = RealtimeSession()
    for sent in (
        message("input_audio_buffer.append", audio="AAAA"),
        message("input_audio_buffer.commit"),
    ):
        assert session.from_client(sent) == [Chatter(size=len(sent))]
    limits = message("rate_limits.updated", rate_limits=[{"name": "tokens"}])
    assert session.from_server(limits) == [Chatter(size=len(limits))]
