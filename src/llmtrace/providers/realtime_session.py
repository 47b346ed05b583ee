"""OpenAI Realtime: a call is a response, whoever asked for it: the client, or voice detection.

What a response answers to has come in messages before it: the session's instructions and tools,
items of the conversation, sound. They are kept until the next response begins, and make its
request, in the form of a Responses request. Sound is not kept, only counted.

Source: the types of the openai SDK 3.52 (``realtime/``).
"""

from collections import deque
from typing import Final

import orjson

from llmtrace.domain.answers import Unread
from llmtrace.domain.traces import Outcome
from llmtrace.providers.base import Json
from llmtrace.providers.leaves import words
from llmtrace.providers.reading import as_dict, as_list, as_str
from llmtrace.providers.websocket import (
    MAX_WAITING,
    CallInput,
    CallStarted,
    Chatter,
    Message,
    RunningCall,
    SessionEvent,
    read_message,
    request_of,
)

MAX_CARRIED: Final = 4 << 20
"""Bytes of JSON that are kept for the next call: items, and the session. The rest is counted."""

_PLAIN_CLIENT: Final = words(
    """
    input_audio_buffer.commit input_audio_buffer.clear output_audio_buffer.clear response.cancel
    conversation.item.delete conversation.item.truncate conversation.item.retrieve
    """
)
_PLAIN_SERVER: Final = words(
    """
    rate_limits.updated session.created session.updated conversation.created
    conversation.item.created conversation.item.added conversation.item.done
    conversation.item.deleted conversation.item.truncated conversation.item.retrieved
    conversation.item.input_audio_transcription.delta
    conversation.item.input_audio_transcription.segment
    conversation.item.input_audio_transcription.failed
    input_audio_buffer.committed input_audio_buffer.cleared input_audio_buffer.speech_started
    input_audio_buffer.speech_stopped input_audio_buffer.timeout_triggered
    output_audio_buffer.started output_audio_buffer.stopped output_audio_buffer.cleared
    """
)
"""Echoes of what has been read, and signals without text."""
_TRANSCRIBED: Final = "conversation.item.input_audio_transcription.completed"


class RealtimeSession:
    """Tells the calls of one connection. ``model`` is the one that the URL names."""

    def __init__(self, model: str = "") -> None:
        self._session: dict[str, Json] = {"model": model} if model else {}
        self._items: list[Json] = []
        self._carried = 0
        self._sound = 0
        self._dropped = 0
        self._count = 0
        self._asked: deque[tuple[str, RunningCall]] = deque()
        """Calls that the client asked for and the provider has not begun, by their event id."""
        self._running: dict[str, RunningCall] = {}
        """Calls that run, by the id of their response."""

    def from_client(self, message: str | bytes) -> list[SessionEvent]:
        """Read a message of the client."""
        read = read_message(message)
        if isinstance(read, Chatter):
            return [read]
        if read.kind == "response.create":
            return self._create(read)
        if read.kind == "input_audio_buffer.append":
            self._sound += len(as_str(read.body.get("audio"))) * 3 // 4
            return [Chatter(size=read.size)]
        if read.kind in ("session.update", "transcription_session.update"):
            self._update(as_dict(read.body.get("session")))
            return [Chatter(size=read.size)]
        if read.kind == "conversation.item.create":
            self._carry(read.body.get("item"))
            return [Chatter(size=read.size)]
        return [Chatter(size=read.size, body=None if read.kind in _PLAIN_CLIENT else read.body)]

    def from_server(self, message: str | bytes) -> list[SessionEvent]:
        """Read a message of the provider."""
        read = read_message(message)
        if isinstance(read, Chatter):
            return [read]
        if read.kind == "error":
            return self._error(read)
        if read.kind.startswith("response."):
            return self._response(read)
        if read.kind == _TRANSCRIBED:
            return self._transcribed(read)
        if read.kind.startswith("session."):
            model = as_str(as_dict(read.body.get("session")).get("model"))
            self._session |= {"model": model} if model else {}
        known = read.kind in _PLAIN_SERVER
        reason = "" if known else "unknown_event"
        return [Chatter(size=read.size, body=None if known else read.body, reason=reason)]

    def close(self, outcome: Outcome = Outcome.INTERRUPTED) -> list[SessionEvent]:
        """The connection ended: so do its calls, with this outcome."""
        calls = [*self._running.values(), *(call for _, call in self._asked)]
        self._running.clear()
        self._asked.clear()
        return [event for call in calls for event in call.end(outcome)]

    def withdraw(self, call: int) -> None:
        """Forget a call: its message did not go on."""
        self._asked = deque(asked for asked in self._asked if asked[1].number != call)

    def _update(self, session: dict[str, Json]) -> None:
        merged = self._session | session
        size = _size(merged)
        if size > MAX_CARRIED:
            self._dropped += size
        else:
            self._session = merged

    def _carry(self, item: Json) -> None:
        size = _size(item)
        if self._carried + size > MAX_CARRIED:
            self._dropped += size
            return
        self._carried += size
        self._items.append(item)

    def _create(self, read: Message) -> list[SessionEvent]:
        given = request_of(read.body)
        if given is read.body:
            given = {}
        event_id = as_str(read.body.get("event_id"))
        started, call = self._start(given)
        self._asked.append((event_id, call))
        return started

    def _start(self, given: dict[str, Json]) -> tuple[list[SessionEvent], RunningCall]:
        """Begin a call with all that has come since the last one began."""
        events: list[SessionEvent] = []
        if len(self._asked) + len(self._running) >= MAX_WAITING:
            events += self._give_up()
        self._count += 1
        items = [*self._items, *as_list(given.get("input"))]
        request: dict[str, Json] = {**self._session, **given, "input": items}
        found = (Unread(reason="media", size=self._sound), *self._too_large())
        unread = tuple(gap for gap in found if gap.size)
        self._items, self._carried, self._sound, self._dropped = [], 0, 0, 0
        events.append(CallStarted(call=self._count, request=request, unread=unread))
        return events, RunningCall(self._count)

    def _too_large(self) -> tuple[Unread, ...]:
        return (Unread(reason="too_large", size=self._dropped),)

    def _give_up(self) -> list[SessionEvent]:
        if self._running:
            oldest = next(iter(self._running))
            return self._running.pop(oldest).end(Outcome.INTERRUPTED)
        return self._asked.popleft()[1].end(Outcome.INTERRUPTED)

    def _response(self, read: Message) -> list[SessionEvent]:
        response = as_dict(read.body.get("response"))
        response_id = as_str(response.get("id")) or as_str(read.body.get("response_id"))
        events: list[SessionEvent] = []
        call = self._running.get(response_id)
        if call is None and read.kind == "response.created":
            if self._asked:
                call = self._asked.popleft()[1]
            else:
                events, call = self._start({})
            self._running[response_id] = call
        if call is None:
            return [Chatter(size=read.size, body=read.body, reason="unknown_event")]
        found, ended = call.receive(read.body)
        if ended:
            del self._running[response_id]
        return events + found

    def _error(self, read: Message) -> list[SessionEvent]:
        """An error ends the call that it is about: the one whose message it names."""
        about = as_str(as_dict(read.body.get("error")).get("event_id"))
        for position, (event_id, call) in enumerate(self._asked):
            if not about or about == event_id:
                del self._asked[position]
                return call.receive(read.body)[0]
        return [Chatter(size=read.size, body=read.body)]

    def _transcribed(self, read: Message) -> list[SessionEvent]:
        """What the user said, in words: of the call that runs, else of the next one."""
        said: Json = {"type": "input_audio", "transcript": read.body.get("transcript")}
        item: Json = {"type": "message", "role": "user", "content": [said]}
        call = next(iter(self._running.values()), None)
        if call is not None:
            return [CallInput(call=call.number, request={"input": [item]})]
        self._carry(item)
        return [Chatter(size=read.size)]


def _size(value: Json) -> int:
    try:
        return len(orjson.dumps(value))
    except TypeError:  # deeper than orjson writes: over every bound
        return MAX_CARRIED + 1
