"""Reads WebSocket connections: a call is a message to its terminal event, not a connection."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from mitmproxy import http, websocket

from llmtrace.addons.closing import (
    POLICY_VIOLATION,
    TOO_BIG,
    bound_messages,
    close_websocket,
    say_to_client,
)
from llmtrace.addons.destination import folded
from llmtrace.addons.evictions import Evictions
from llmtrace.addons.gateway import CALL, INTERNAL
from llmtrace.addons.guard import guarded
from llmtrace.domain.traces import Outcome, PlanWindow
from llmtrace.pipeline import Call, Pipeline, Refusal, RequestHead
from llmtrace.pipeline.answer import MessageTap
from llmtrace.pipeline.counters import Counters
from llmtrace.pipeline.gated import message_error
from llmtrace.providers.base import Json, RequestView
from llmtrace.providers.plans import plan_windows, told_windows
from llmtrace.providers.registry import SESSIONS
from llmtrace.providers.websocket import (
    CallEnded,
    CallEvents,
    CallInput,
    CallStarted,
    Chatter,
    SessionEvent,
    WebSocketSession,
    is_request,
    request_path,
)

RESPONSES: Final = "openai.responses"
SESSION: Final = "llmtrace.session"
MESSAGE: Final = "llmtrace.message"
MAX_CARRIED: Final = 4 << 20
"""Bytes of messages of no call that are kept to be read with the next call."""
MAX_MESSAGES: Final = 1000
"""How many of these."""


@dataclass(frozen=True, slots=True)
class Running:
    """A call under way, and what reads its answer."""

    call: Call
    tap: MessageTap

    def receive(self, message: bytes) -> None:
        """Note a message of the provider's that is about this call."""
        self.call.first_byte = self.call.first_byte or time.monotonic()
        self.tap.receive(message)


class Connection:
    """One WebSocket connection: its session, its upgrade request, and the calls under way."""

    def __init__(self, upgrade: Call, session: WebSocketSession) -> None:
        self.upgrade = upgrade
        self.session = session
        self.calls: dict[int, Running] = {}
        self.closing = False
        self._windows: Sequence[PlanWindow] = ()
        self._carried: list[tuple[Json, int]] = []
        self._carried_bytes = 0
        self._judged: list[Call] = []

    def windows(self, windows: Sequence[PlanWindow]) -> None:
        """Take what the provider says of the caller's plan: for what runs, and what comes."""
        if windows:
            self._windows = windows
            for running in self.calls.values():
                running.call.takes_windows(windows)

    def begin(self, number: int, running: Running) -> None:
        """A call begins."""
        self.calls[number] = running
        running.call.takes_windows(self._windows)

    def judged(self, message: Call) -> None:
        """Keep what was found in a message for the next call, which it may be about; bounded."""
        if (message.findings or message.gaps) and len(self._judged) < MAX_MESSAGES:
            message.request_body = message.forward = None  # it may be large
            message.view = RequestView()
            self._judged.append(message)

    def carry(self, chatter: Chatter) -> None:
        """Keep a message of no call for the next one, which it may be about; bounded."""
        body = chatter.body if self._carried_bytes + chatter.size <= MAX_CARRIED else None
        if body is not None:
            self._carried_bytes += chatter.size
        self._carried.append((body, 0 if body is not None else chatter.size))
        if len(self._carried) > MAX_MESSAGES:
            sizes = sum(size for _, size in self._carried)
            self._carried, self._carried_bytes = [(None, sizes + self._carried_bytes)], 0

    def begins_call(self, content: bytes) -> bool:
        """Whether a message of the client's is itself the request of a call."""
        return self.upgrade.route.dialect == RESPONSES and is_request(content)

    def hand_over(self, pipeline: Pipeline, call: Call) -> None:
        """Make what was kept part of a call."""
        for body, unread in self._carried:
            if body is not None:
                pipeline.more_input(call, body)
            call.gap("websocket_messages", unread)
        self._carried, self._carried_bytes = [], 0
        for message in self._judged:
            pipeline.take_over(call, message)
        self._judged = []


class WebSockets:
    """Drives the pipeline from messages, both ways, and keeps none of them."""

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        counters: Counters,
        max_message: int,
        evictions: Evictions,
        fail_open: bool = False,
    ) -> None:
        self._pipeline = pipeline
        self._evictions = evictions
        self._counters = counters
        self._max_message = max_message
        self._fail_open = fail_open

    def _failed(self, flow: http.HTTPFlow) -> None:
        """A fault of ours: the message goes nowhere and the connection ends, or it passes."""
        self._counters.count("fail_open" if self._fail_open else "fail_closed", "websocket")
        if not self._fail_open:
            _drop_last(flow)
            _mark_closing(flow)
            close_websocket(flow, POLICY_VIOLATION, INTERNAL)
        else:
            _let_go(flow)

    @guarded("websocket_start", _failed)
    async def websocket_start(self, flow: http.HTTPFlow) -> None:
        """Begin to read a connection, if its dialect has calls over WebSocket."""
        bound_messages(flow, self._max_message)
        upgrade = flow.metadata.get(CALL)
        if not isinstance(upgrade, Call):
            return
        new_session = SESSIONS.get(upgrade.route.dialect)
        if new_session is None:
            self._counters.count("unread_websockets")
            self._evictions.watch(flow.client_conn, upgrade.head.keys, upgrade.head.proxy_key)
            return
        connection = flow.metadata[SESSION] = Connection(upgrade, new_session())
        if flow.response is not None:
            connection.windows(plan_windows(folded(flow.response.headers), now=datetime.now(UTC)))

    @guarded("websocket_message", _failed)
    async def websocket_message(self, flow: http.HTTPFlow) -> None:
        """Read one message; a call's END record is there before its last message goes on."""
        if flow.websocket is None or not flow.websocket.messages:
            return
        message = flow.metadata[MESSAGE] = flow.websocket.messages[-1]
        flow.websocket.messages.clear()  # mitmproxy would keep them all
        connection, upgrade = flow.metadata.get(SESSION), flow.metadata.get(CALL)
        if isinstance(connection, Connection):
            await self._read(flow, connection, message)
        elif isinstance(upgrade, Call):
            upgrade.more_gap("websocket_messages", len(message.content))

    async def _read(
        self, flow: http.HTTPFlow, connection: Connection, message: websocket.WebSocketMessage
    ) -> None:
        if connection.closing:
            message.drop()
            return
        if len(message.content) > self._max_message:
            self._counters.count("limit_exceeded", "websocket_message_bytes")
            message.drop()
            connection.closing = True
            close_websocket(flow, TOO_BIG, "message over limits.websocket_message_bytes")
            return
        if message.from_client:
            await self._from_client(flow, connection, message)
        else:
            await self._from_server(flow, connection, message)

    async def _from_client(
        self, flow: http.HTTPFlow, connection: Connection, message: websocket.WebSocketMessage
    ) -> None:
        head = _message_head(connection)
        if refusal := await self._pipeline.gate_message(head, message.content):
            _close(flow, connection, message, refusal)
            return
        if self._pipeline.enforces and not connection.begins_call(message.content):
            judged = await self._pipeline.inspect_input(head, message.content)
            if isinstance(judged, Refusal):
                _withhold(flow, message, judged)
                return
            if judged is not None:
                message.content = judged.forward or message.content
                connection.judged(judged)
        for event in connection.session.from_client(_data(message)):
            refusal = await self._follow(connection, event, message)
            if refusal and isinstance(event, CallStarted):
                connection.session.withdraw(event.call)
                _withhold(flow, message, refusal)
                return
            if refusal:
                _close(flow, connection, message, refusal)
                return

    async def _from_server(
        self, flow: http.HTTPFlow, connection: Connection, message: websocket.WebSocketMessage
    ) -> None:
        connection.windows(told_windows(message.content, now=datetime.now(UTC)))
        events = connection.session.from_server(_data(message))
        _received(connection, events, message.content)
        passed = _let_through(connection, events, message.content)
        if passed != [message.content]:
            message.drop()
            for one in passed:
                say_to_client(flow, one, is_text=message.is_text)
        for event in events:
            if refusal := await self._follow(connection, event, message):
                _close(flow, connection, message, refusal)
                return

    async def _follow(
        self,
        connection: Connection,
        event: SessionEvent,
        message: websocket.WebSocketMessage | None = None,
    ) -> Refusal | None:
        match event:
            case CallStarted():
                return await self._begin(connection, event, message)
            case CallInput() if running := connection.calls.get(event.call):
                self._pipeline.more_input(running.call, event.request)
            case CallEvents() if running := connection.calls.get(event.call):
                running.tap.take(event.events)
            case CallEnded() if running := connection.calls.pop(event.call, None):
                outcome = None if event.outcome is Outcome.OK else event.outcome
                await self._pipeline.finish(running.call, outcome=outcome)
            case Chatter():
                self._counters.count("websocket_chatter", event.reason)
                if event.body is not None:
                    connection.carry(event)
            case _:
                self._counters.count("websocket_chatter", "no_call")
        return None

    async def _begin(
        self,
        connection: Connection,
        event: CallStarted,
        message: websocket.WebSocketMessage | None,
    ) -> Refusal | None:
        call = self._pipeline.identify(_message_head(connection))
        if isinstance(call, Refusal):
            return call
        for unread in event.unread:
            call.gap(unread.reason, unread.size)
        call.begun = message is not None and not message.from_client
        content = message.content if message else b""
        refusal, tap = await self._pipeline.inspect_message(
            call,
            content,
            event.request,
            within=request_path(content),
            act=connection.begins_call(content),
        )
        if refusal is None:
            if call.forward is not None and message is not None:
                message.content = call.forward
            connection.begin(event.call, Running(call, tap))
            connection.hand_over(self._pipeline, call)
        return refusal

    @guarded("websocket_end", _failed)
    async def websocket_end(self, flow: http.HTTPFlow) -> None:
        """The connection closed: calls that were under way broke off."""
        connection, upgrade = flow.metadata.get(SESSION), flow.metadata.get(CALL)
        if not isinstance(connection, Connection):
            if isinstance(upgrade, Call):  # one of a dialect without calls: it was not read
                upgrade.status = 101
                await self._pipeline.finish(upgrade)
            return
        by_client = bool(flow.websocket and flow.websocket.closed_by_client)
        outcome = Outcome.CLIENT_LEFT if by_client else Outcome.BROKEN
        for event in connection.session.close(outcome):
            await self._follow(connection, event)
        for running in connection.calls.values():
            await self._pipeline.finish(running.call, outcome=outcome, code="websocket_closed")
        await self._end(connection)

    async def _end(self, connection: Connection) -> None:
        """Put on record what was said in no call at all."""
        upgrade = connection.upgrade
        upgrade.status = 101
        connection.hand_over(self._pipeline, upgrade)
        if upgrade.view.parts or upgrade.gaps:
            await self._pipeline.finish(upgrade)


def _message_head(connection: Connection) -> RequestHead:
    return replace(
        connection.upgrade.head,
        mode="websocket",
        started_at=datetime.now(UTC),
        started=time.monotonic(),
    )


def _close(
    flow: http.HTTPFlow,
    connection: Connection,
    message: websocket.WebSocketMessage,
    refusal: Refusal,
) -> None:
    message.drop()
    connection.closing = True
    close_websocket(flow, POLICY_VIOLATION, refusal.message)


def _withhold(flow: http.HTTPFlow, message: websocket.WebSocketMessage, refusal: Refusal) -> None:
    """Answer a client's message with the error of its call; the connection stays."""
    message.drop()
    error = message_error(
        refusal.code, refusal.message, status=refusal.status, details=refusal.details
    )
    say_to_client(flow, error)


def _data(message: websocket.WebSocketMessage) -> str | bytes:
    return message.text if message.is_text else message.content


def _let_through(connection: Connection, events: list[SessionEvent], content: bytes) -> list[bytes]:
    """Return what goes on of a message of the provider's, and of those that were held."""
    said = [event for event in events if isinstance(event, CallEvents)]
    running = connection.calls.get(said[0].call) if said else None
    if running is None:
        return [content]
    about = [one for event in said if event.call == said[0].call for one in event.events]
    last = any(isinstance(e, CallEnded) and e.call == said[0].call for e in events)
    return running.tap.let_through(content, about, last=last)


def _received(connection: Connection, events: list[SessionEvent], content: bytes) -> None:
    """Give a message of the provider's to the calls that it is about."""
    numbers = {event.call for event in events if isinstance(event, CallEvents)}
    for number in numbers & connection.calls.keys():
        connection.calls[number].receive(content)


def _mark_closing(flow: http.HTTPFlow) -> None:
    connection = flow.metadata.get(SESSION)
    if isinstance(connection, Connection):
        connection.closing = True


def _let_go(flow: http.HTTPFlow) -> None:
    """Let what is held of the provider's answers go on, before the message that failed."""
    connection = flow.metadata.get(SESSION)
    message = flow.metadata.get(MESSAGE)
    if not isinstance(connection, Connection) or not isinstance(
        message, websocket.WebSocketMessage
    ):
        return
    if message.from_client or message.dropped:  # if dropped, it was judged: what failed came after
        return
    for running in connection.calls.values():
        *held, _last = running.tap.let_go(message.content)
        for one in held:
            say_to_client(flow, one, is_text=message.is_text)


def _drop_last(flow: http.HTTPFlow) -> None:
    message = flow.metadata.get(MESSAGE)
    if isinstance(message, websocket.WebSocketMessage):
        message.drop()
