"""Responses over WebSocket, as Codex speaks it."""

import json
from typing import Any

import pytest

from llmtrace.domain.answers import TextDelta
from llmtrace.domain.traces import Outcome
from llmtrace.providers.responses_session import ResponsesSession
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


CREATED = message("response.created", response={"id": "r", "status": "in_progress", "output": []})
EMPTY = message("response.completed", response={"id": "r", "status": "completed", "output": []})
DELTA = message("response.output_text.delta", delta="Hi", output_index=0, content_index=0)
TURN = message("response.create", model="m", input=["Hello"], previous_response_id="r0")
WARM_UP = message("response.create", model="m", input=[], instructions="Be kind", generate=False)


def texts(events: list[SessionEvent]) -> list[str]:
    found = [e for event in events if isinstance(event, CallEvents) for e in event.events]
    return [e.text for e in found if isinstance(e, TextDelta)]


def test_the_message_itself_is_the_request() -> None:
    [started] = ResponsesSession().from_client(TURN)
    assert isinstance(started, CallStarted)
    assert started.request == json.loads(TURN)


def test_a_request_under_response_is_one_too() -> None:
    [started] = ResponsesSession().from_client(message("response.create", response={"input": "a"}))
    assert isinstance(started, CallStarted)
    assert started.request == {"input": "a"}


def test_a_warm_up_is_no_call_but_is_to_be_read() -> None:
    session = ResponsesSession()
    assert session.from_client(WARM_UP) == [
        Chatter(size=len(WARM_UP), body=json.loads(WARM_UP), reason="prewarm")
    ]
    for answer in (CREATED, EMPTY):
        assert session.from_server(answer) == [Chatter(size=len(answer))]
    assert session.close() == []


@pytest.mark.parametrize("answered", [True, False], ids=["answered", "unanswered"])
def test_the_turn_after_a_warm_up_gets_its_own_answer(answered: bool) -> None:
    session = ResponsesSession()
    session.from_client(WARM_UP)
    if answered:
        session.from_server(CREATED)
        session.from_server(EMPTY)
    session.from_client(TURN)
    events = session.from_server(CREATED) + session.from_server(DELTA) + session.from_server(EMPTY)
    assert texts(events) == ["Hi"]
    assert events[-1] == CallEnded(call=1, outcome=Outcome.OK)


def test_an_error_to_a_warm_up_ends_no_call() -> None:
    session = ResponsesSession()
    session.from_client(WARM_UP)
    session.from_server(message("error", status=400, error={"message": "No"}))
    session.from_client(TURN)
    assert texts(session.from_server(DELTA)) == ["Hi"]
    assert session.close()[-1] == CallEnded(call=1, outcome=Outcome.INTERRUPTED)


def test_steering_is_more_input_of_the_running_call() -> None:
    session = ResponsesSession()
    steer = message("response.steer", input=["Left"])
    assert session.from_client(steer) == [Chatter(size=len(steer), body=json.loads(steer))]
    session.from_client(TURN)
    assert session.from_client(steer) == [CallInput(call=1, request=json.loads(steer))]


def test_signals_have_nothing_to_read() -> None:
    cancel = message("response.cancel")
    assert ResponsesSession().from_client(cancel) == [Chatter(size=len(cancel))]


def test_an_answer_to_nothing_is_to_be_read() -> None:
    assert ResponsesSession().from_server(DELTA) == [
        Chatter(size=len(DELTA), body=json.loads(DELTA), reason="unknown_event")
    ]
