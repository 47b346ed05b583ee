"""Calls on a WebSocket: what a session promises. A connection carries many calls, one by one.

A session is fed the messages of both directions, in the order in which they pass, and says which
calls they make. It does no I/O, never raises on data, and keeps a bounded amount of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import orjson

from llmtrace.domain.answers import AnswerEvent, Ended, Failed, Unread
from llmtrace.domain.parts import Path
from llmtrace.domain.traces import Outcome
from llmtrace.providers.base import Json
from llmtrace.providers.reading import as_dict, as_str
from llmtrace.providers.responses_answers import ResponsesReader

MAX_WAITING: Final = 64
"""Calls of one connection that may wait for their end. One more, and the oldest is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallStarted:
    """A call begins. ``request`` is its body, for ``Dialect.request`` of the session's dialect.

    ``call`` counts the connection's calls from 1. ``unread`` is what else goes into the call and
    cannot be read: sound.
    """

    call: int
    request: Json
    unread: Sequence[Unread] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CallInput:
    """More input for a call that runs already, in the same form as its request."""

    call: int
    request: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEvents:
    """What a message of the provider says of a call; ``events`` may be none."""

    call: int
    events: Sequence[AnswerEvent]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEnded:
    """A call ended. ``outcome`` is ok, provider_error, or what ``close`` was told."""

    call: int
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Chatter:
    """A message that is of no call. ``size`` is in bytes.

    ``body`` is there if the message may carry text that is in no call's request: it is to be read
    by ``Dialect.request``, like one. ``reason`` says what it is where it is no plain protocol:
    ``prewarm``, or one of ``Unread``'s.
    """

    size: int
    body: Json = None
    reason: str = ""


type SessionEvent = CallStarted | CallInput | CallEvents | CallEnded | Chatter


class WebSocketSession(Protocol):
    """Tells the calls of one connection."""

    def from_client(self, message: str | bytes) -> list[SessionEvent]:
        """Read a message of the client."""
        ...

    def from_server(self, message: str | bytes) -> list[SessionEvent]:
        """Read a message of the provider."""
        ...

    def withdraw(self, call: int) -> None:
        """Forget a call that has begun: its message did not go on."""
        ...

    def close(self, outcome: Outcome = Outcome.INTERRUPTED) -> list[SessionEvent]:
        """The connection ended: so do its calls, with this outcome."""
        ...


@dataclass(slots=True)
class RunningCall:
    """A call that has not ended."""

    number: int
    reader: ResponsesReader = field(default_factory=ResponsesReader)

    def receive(self, body: dict[str, Json]) -> tuple[list[SessionEvent], bool]:
        """Read a message of the provider, and tell whether it ends the call."""
        events = self.reader.event(body)
        failed = any(isinstance(event, Failed) for event in events)
        ended = failed or any(isinstance(event, Ended) for event in events)
        found: list[SessionEvent] = [CallEvents(call=self.number, events=events)]
        if ended:
            outcome = Outcome.PROVIDER_ERROR if failed else Outcome.OK
            found += [*self._rest(), CallEnded(call=self.number, outcome=outcome)]
        return found, ended

    def end(self, outcome: Outcome) -> list[SessionEvent]:
        """End it without a last word of the provider."""
        return [*self._rest(), CallEnded(call=self.number, outcome=outcome)]

    def _rest(self) -> list[SessionEvent]:
        events = self.reader.close()
        return [CallEvents(call=self.number, events=events)] if events else []


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message that was parsed: its JSON object, its ``type``, its size in bytes."""

    size: int
    body: dict[str, Json]
    kind: str


def read_message(message: str | bytes) -> Message | Chatter:
    """Parse a message. What is no JSON object is chatter that says so."""
    data = message.encode("utf-8", "surrogatepass") if isinstance(message, str) else message
    try:
        body: Json = orjson.loads(data)
    except orjson.JSONDecodeError:
        text = data.decode("utf-8", "replace")
        return Chatter(size=len(data), body=text, reason="bad_json")
    if not isinstance(body, dict):
        return Chatter(size=len(data), body=body, reason="unknown_event")
    return Message(size=len(data), body=body, kind=as_str(body.get("type")))


def request_of(body: dict[str, Json]) -> dict[str, Json]:
    """Return the request in a ``response.create``: the message itself, or its ``response``."""
    return as_dict(body.get("response")) or body


def request_path(message: bytes) -> Path:
    """Return where the request stands in a ``response.create``."""
    read = read_message(message)
    return ("response",) if isinstance(read, Message) and as_dict(read.body.get("response")) else ()


def is_warm_up(body: dict[str, Json]) -> bool:
    """Whether a ``response.create`` asks for nothing, but that the provider get ready."""
    return body.get("generate") is False or request_of(body).get("generate") is False


def is_request(message: bytes) -> bool:
    """Whether a message is a ``response.create`` that asks for an answer."""
    if b"response.create" not in message:
        return False
    read = read_message(message)
    if not isinstance(read, Message) or read.kind != "response.create":
        return False
    return not is_warm_up(read.body)
