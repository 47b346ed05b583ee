"""Responses over WebSocket: ``response.create`` begins a call, its terminal event ends it.

``generate: false`` warms a connection up and is no call; the provider answers it, or does not.
Source: the types of the openai SDK 3.52, and Codex 0.169 on the wire.
"""

from collections import deque
from typing import Final

from llmtrace.domain.traces import Outcome
from llmtrace.providers.base import Json
from llmtrace.providers.leaves import words
from llmtrace.providers.reading import as_count, as_dict, as_str
from llmtrace.providers.websocket import (
    MAX_WAITING,
    CallInput,
    CallStarted,
    Chatter,
    Message,
    RunningCall,
    SessionEvent,
    is_warm_up,
    read_message,
    request_of,
)

_PLAIN: Final = words("response.cancel ping")
_BEGINNINGS: Final = words("response.created response.queued response.in_progress")
_ENDINGS: Final = words("response.completed response.failed response.incomplete error")


class ResponsesSession:
    """Tells the calls of one connection. The provider answers them in order."""

    def __init__(self) -> None:
        self._calls: deque[RunningCall | None] = deque()
        """Those that wait for their end; None stands for a warm-up."""
        self._count = 0

    def from_client(self, message: str | bytes) -> list[SessionEvent]:
        """Read a message of the client."""
        read = read_message(message)
        if isinstance(read, Chatter):
            return [read]
        if read.kind == "response.create":
            return self._create(read)
        running = self._running()
        if read.kind == "response.steer" and running is not None:
            return [CallInput(call=running.number, request=read.body)]
        return [Chatter(size=read.size, body=None if read.kind in _PLAIN else read.body)]

    def from_server(self, message: str | bytes) -> list[SessionEvent]:
        """Read a message of the provider."""
        read = read_message(message)
        if isinstance(read, Chatter):
            return [read]
        if self._calls and self._calls[0] is None:
            if _can_be_warm_up(read):
                if read.kind in _ENDINGS:
                    self._calls.popleft()
                return [Chatter(size=read.size)]
            self._calls.popleft()
        call = self._calls[0] if self._calls else None
        if call is None:
            return [Chatter(size=read.size, body=read.body, reason="unknown_event")]
        events, ended = call.receive(read.body)
        if ended:
            self._calls.popleft()
        return events

    def close(self, outcome: Outcome = Outcome.INTERRUPTED) -> list[SessionEvent]:
        """The connection ended: so do its calls, with this outcome."""
        events: list[SessionEvent] = []
        while self._calls:
            events += self._give_up(outcome)
        return events

    def withdraw(self, call: int) -> None:
        """Forget a call: its message did not go on."""
        self._calls = deque(c for c in self._calls if c is None or c.number != call)

    def _create(self, read: Message) -> list[SessionEvent]:
        events: list[SessionEvent] = []
        if len(self._calls) >= MAX_WAITING:
            events += self._give_up(Outcome.INTERRUPTED)
        request = request_of(read.body)
        if is_warm_up(read.body):
            self._calls.append(None)
            return [*events, Chatter(size=read.size, body=read.body, reason="prewarm")]
        self._count += 1
        self._calls.append(RunningCall(self._count))
        return [*events, CallStarted(call=self._count, request=request)]

    def _give_up(self, outcome: Outcome) -> list[SessionEvent]:
        call = self._calls.popleft()
        return call.end(outcome) if call is not None else []

    def _running(self) -> RunningCall | None:
        return next((call for call in self._calls if call is not None), None)


def _can_be_warm_up(read: Message) -> bool:
    """Whether an answer to a warm-up can look like this: it has no output and no tokens of it."""
    if read.kind in _BEGINNINGS or read.kind == "error":
        return True
    response: dict[str, Json] = as_dict(read.body.get("response"))
    tokens = as_count(as_dict(response.get("usage")).get("output_tokens")) or 0
    if read.kind in _ENDINGS:
        return not response.get("output") and not tokens
    return not as_str(read.kind).startswith("response.")
