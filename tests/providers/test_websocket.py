"""What the sessions share: messages, and a call that runs. One suite over the table."""

import json
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.domain.answers import Ended, Failed
from llmtrace.domain.traces import Outcome
from llmtrace.providers.base import Json
from llmtrace.providers.registry import SESSIONS
from llmtrace.providers.websocket import (
    MAX_WAITING,
    CallEnded,
    CallEvents,
    CallStarted,
    Chatter,
    RunningCall,
    SessionEvent,
    WebSocketSession,
    read_message,
)

CREATE: Final = json.dumps({"type": "response.create", "response": {"input": []}})
BEGUN: Final = json.dumps({"type": "response.created", "response": {"id": "r1"}})
ENDINGS: Final = {"openai.responses": "response.completed", "openai.realtime": "response.done"}


@pytest.fixture(params=sorted(SESSIONS))
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def session(name: str) -> WebSocketSession:
    return SESSIONS[name]()


def ended(name: str, status: str = "completed") -> str:
    return json.dumps({"type": ENDINGS[name], "response": {"id": "r1", "status": status}})


def test_calls_come_one_after_the_other(name: str, session: WebSocketSession) -> None:
    for number in (1, 2, 3):
        [started] = session.from_client(CREATE)
        assert isinstance(started, CallStarted)
        assert started.call == number
        session.from_server(BEGUN)
        events = session.from_server(ended(name))
        assert isinstance(events[0], CallEvents)
        assert Ended() in events[0].events
        assert events[-1] == CallEnded(call=number, outcome=Outcome.OK)
    assert session.close() == []


def test_a_failed_response_is_the_providers_error(name: str, session: WebSocketSession) -> None:
    session.from_client(CREATE)
    session.from_server(BEGUN)
    events = session.from_server(ended(name, "failed"))
    assert events[-1] == CallEnded(call=1, outcome=Outcome.PROVIDER_ERROR)


def test_an_error_ends_the_call(session: WebSocketSession) -> None:
    session.from_client(CREATE)
    error = {"type": "error", "status": 400, "error": {"code": "c", "message": "No"}}
    events = session.from_server(json.dumps(error))
    assert events == [
        CallEvents(call=1, events=[Failed(code="c", message="No")]),
        CallEnded(call=1, outcome=Outcome.PROVIDER_ERROR),
    ]


@pytest.mark.parametrize("outcome", [Outcome.INTERRUPTED, Outcome.BROKEN, Outcome.CLIENT_LEFT])
def test_a_connection_that_ends_ends_its_calls(session: WebSocketSession, outcome: Outcome) -> None:
    session.from_client(CREATE)
    session.from_server(BEGUN)
    session.from_client(CREATE)
    assert session.close(outcome) == [
        CallEnded(call=1, outcome=outcome),
        CallEnded(call=2, outcome=outcome),
    ]
    assert session.close() == []


def test_waiting_calls_are_bounded(session: WebSocketSession) -> None:
    for _ in range(MAX_WAITING):
        session.from_client(CREATE)
    given_up, started = session.from_client(CREATE)
    assert given_up == CallEnded(call=1, outcome=Outcome.INTERRUPTED)
    assert isinstance(started, CallStarted)


@pytest.mark.parametrize(
    ("message", "body", "reason"),
    [
        ('{"cut', '{"cut', "bad_json"),
        (b"\xff\xfe", "��", "bad_json"),
        ('"a text"', "a text", "unknown_event"),
        ("[1]", [1], "unknown_event"),
    ],
)
def test_what_is_no_object_is_to_be_read(
    session: WebSocketSession, message: str | bytes, body: Json, reason: str
) -> None:
    expected = [Chatter(size=len(message), body=body, reason=reason)]
    assert session.from_client(message) == expected
    assert session.from_server(message) == expected


def test_unknown_messages_are_to_be_read(session: WebSocketSession) -> None:
    message = {"type": "brand.new", "text": "x y"}
    for events in (
        session.from_client(json.dumps(message)),
        session.from_server(json.dumps(message)),
    ):
        [chatter] = events
        assert isinstance(chatter, Chatter)
        assert chatter.body == message


MESSAGES: Final[st.SearchStrategy[Any]] = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            [
                "response.create",
                "response.created",
                "response.completed",
                "response.done",
                "response.steer",
                "response.output_text.delta",
                "session.update",
                "conversation.item.create",
                "conversation.item.input_audio_transcription.completed",
                "error",
                "x",
            ]
        )
    },
    optional={
        key: st.none() | st.text(max_size=3) | st.dictionaries(st.text(max_size=2), st.integers())
        for key in ("response", "item", "session", "error", "delta", "response_id", "generate")
    },
)


@settings(max_examples=150, deadline=None)
@given(
    messages=st.lists(st.tuples(st.booleans(), MESSAGES | st.integers()), max_size=12),
    name=st.sampled_from(sorted(SESSIONS)),
)
def test_every_call_that_starts_ends_once(messages: list[tuple[bool, Any]], name: str) -> None:
    session = SESSIONS[name]()
    events: list[SessionEvent] = []
    for by_client, message in messages:
        feed = session.from_client if by_client else session.from_server
        events += feed(json.dumps(message))
    events += session.close()
    started = [event.call for event in events if isinstance(event, CallStarted)]
    finished = [event.call for event in events if isinstance(event, CallEnded)]
    assert started == list(range(1, len(started) + 1))
    assert sorted(finished) == started


def test_bytes_and_text_are_the_same() -> None:
    assert read_message(CREATE) == read_message(CREATE.encode())


def test_a_lone_surrogate_is_no_json() -> None:
    assert isinstance(read_message('"\ud800"'), Chatter)


def test_a_call_that_is_ended_closes_its_channels() -> None:
    call = RunningCall(1)
    call.receive({"type": "response.output_text.delta", "delta": "Hi"})
    closed, last = call.end(Outcome.BROKEN)
    assert isinstance(closed, CallEvents)
    assert last == CallEnded(call=1, outcome=Outcome.BROKEN)
