"""The order of a call's stages. The only code that knows all of them."""

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from llmtrace.domain.findings import Verdict
from llmtrace.domain.parts import Path
from llmtrace.domain.traces import Body, Outcome, Record
from llmtrace.pipeline import settle
from llmtrace.pipeline.admission import Admissions
from llmtrace.pipeline.answer import AnswerTap, MessageTap
from llmtrace.pipeline.call import Call, Refusal, RequestHead
from llmtrace.pipeline.conversation import Conversations
from llmtrace.pipeline.counters import Counters
from llmtrace.pipeline.credentials import Credentials, TooManyCredentials
from llmtrace.pipeline.enforcement import FAULTS, Enforcement, report
from llmtrace.pipeline.gated import GatedTap, MessageGate
from llmtrace.pipeline.identity import BadIdentity, Identifier
from llmtrace.pipeline.journal import Journal, JournalUnavailable
from llmtrace.pipeline.keyring import KeyRefused
from llmtrace.pipeline.reading import RequestReader
from llmtrace.pipeline.requests import (
    ASKS_FOR_KEY,
    DO_NOT_RETRY,
    NOTHING,
    RECORD_ERROR,
    Bounds,
    believed,
    fault,
    folded,
    is_coded,
    is_text,
    new_call,
    noted,
    scrubbed,
    target_of,
    with_details,
)
from llmtrace.pipeline.resigning import Resigner
from llmtrace.pipeline.threads import LARGE, is_cancelled, off_loop
from llmtrace.pipeline.watching import Watch
from llmtrace.providers import jsongate
from llmtrace.providers.base import Json
from llmtrace.providers.decoding import BodyTooLarge, UndecodableBody
from llmtrace.providers.detect import route
from llmtrace.providers.hosts import HostTable
from llmtrace.providers.jsongate import BadJson
from llmtrace.providers.pricing import PriceBook
from llmtrace.providers.registry import dialect as dialect_named
from llmtrace.storage.deferred import Deferred, MemoryDeferred

logger = logging.getLogger(__name__)


class Pipeline:
    """Takes calls through their stages. One per worker; lives in the event loop.

    Nothing here raises on what a peer sent: a call that cannot be judged is refused.
    """

    def __init__(
        self,
        *,
        hosts: HostTable,
        identifier: Identifier,
        prices: PriceBook | None,
        journal: Journal,
        bounds: Bounds,
        counters: Counters,
        enforcement: Enforcement | None = None,
        admissions: Admissions | None = None,
        watch: Watch | None = None,
        resigner: Resigner | None = None,
        deferred: Deferred | None = None,
        refuse_unrecorded: bool = True,
        keep_bodies: bool = True,
    ) -> None:
        self._hosts = hosts
        self._identifier = identifier
        self._prices = prices
        self._journal = journal
        self._bounds = bounds
        self._counters = counters
        self._enforcement = enforcement
        self._admissions = admissions
        self._watch = watch
        self._resigner = resigner
        self._refuse_unrecorded = refuse_unrecorded
        self._keep_bodies = keep_bodies
        self._conversations = Conversations()
        self._reader = RequestReader(
            hosts=hosts,
            bounds=bounds,
            conversations=self._conversations,
            keep_bodies=keep_bodies,
        )
        self._deferred = deferred or MemoryDeferred()

    # --- identify ---------------------------------------------------------------------------

    def identify(self, head: RequestHead) -> Call | Refusal:
        """Begin a call: say who calls, whom, and in which dialect as far as the head tells."""
        head = believed(head, self._hosts, self._identifier.trusts)
        headers, repeated = folded(head)
        target = target_of(head, headers)
        found = route(target, provider_hint=head.provider_hint, body=None, hosts=self._hosts)
        try:
            credentials = Credentials(head.headers, head.query)
            caller = self._identifier.caller(
                headers=headers,
                repeated=repeated,
                peer=head.peer,
                run=head.run,
                credentials=credentials,
                keys=head.keys,
                proxy_key=head.proxy_key,
            )
        except (BadIdentity, KeyRefused, TooManyCredentials) as error:
            status, code, message = fault(error)
            self._counters.count("refused", code)
            body = dialect_named(found.dialect).refusal(status=status, code=code, message=message)
            headers = ASKS_FOR_KEY if status == 401 else {}
            return Refusal(status=status, code=code, message=message, body=body, headers=headers)
        return new_call(head, headers, caller, found, credentials)

    # --- inspect the request ----------------------------------------------------------------

    async def inspect(self, call: Call, body: bytes) -> Refusal | None:
        """Read a request and put it on record; return the refusal if it must not go on."""
        began = time.monotonic()
        try:
            content, parsed = await off_loop(
                LARGE if is_coded(call.head) else len(body), self._reader.read, call, body
            )
        except (UndecodableBody, BodyTooLarge, BadJson, TooManyCredentials) as error:
            return await self.refuse(call, *noted(error, self._counters))
        call.span("inspect", began, time.monotonic())
        if self._resigner is not None:
            await self._resigner.look(call, body)
        return (
            await self._judge(call, content, parsed)
            or await self._admit(call, content, parsed)
            or await self._begin(call)
        )

    async def _admit(
        self, call: Call, content: bytes, body: Json, *, within: Path = (), act: bool = True
    ) -> Refusal | None:
        """Hold a request that was read and judged to its limits, and set aside what it may cost."""
        no = await self._watch.before(call, body) if self._watch else None
        if no is None and self._admissions is not None:
            no = await self._admissions.admit(call, content, body, within=within, act=act)
        if no is None:
            return None
        return await self.refuse(call, no.status, no.code, no.message, no.details, no.headers)

    async def _judge(
        self, call: Call, content: bytes, body: Json, *, within: Path = (), act: bool = True
    ) -> Refusal | None:
        """Let the detectors and the policy have their say about a request that was read."""
        if self._enforcement is None:
            return None
        stop = await self._enforcement.request(call, content, body, within=within, act=act)
        return await self.refuse(call, stop.status, stop.code, stop.message) if stop else None

    async def gate_message(self, head: RequestHead, content: bytes) -> Refusal | None:
        """Judge whether any parser reads a client's WebSocket message as it is read here.

        A message that is refused leaves a trace; one without content says nothing.
        """
        if not content.strip():
            return None
        try:
            await off_loop(len(content), jsongate.parse, content, self._bounds.json)
        except BadJson as error:
            call = self.identify(head)
            if isinstance(call, Refusal):
                return call
            call.request_bytes = len(content)
            if self._keep_bodies:
                call.request_body = Body(content=content, media_type="application/json")
            return await self.refuse(call, *noted(error, self._counters))
        return None

    @property
    def enforces(self) -> bool:
        """Whether calls are judged, and what the policy says is done."""
        return self._enforcement is not None and self._enforcement.detection.enforce

    async def inspect_input(self, head: RequestHead, content: bytes) -> Refusal | Call | None:
        """Judge a WebSocket message by itself: return why it stops, or what is known of it.

        What is to go on instead of one is in ``forward`` then. What was found in it is told of
        the call that it becomes part of: see ``take_over``.
        """
        if self._enforcement is None or not content.strip():
            return None
        call = self.identify(head)
        if isinstance(call, Refusal):
            return call
        body: Json = orjson.loads(content)  # it has passed the gate
        call.request_bytes = len(content)
        if self._keep_bodies:
            call.request_body = Body(content=content, media_type="application/json")
        call.view = await off_loop(len(content), call.dialect.request, body, call.route)
        stop = await self._enforcement.request(call, content, body)
        if stop is not None:
            return await self.refuse(call, stop.status, stop.code, stop.message)
        return call

    def take_over(self, call: Call, judged: Call) -> None:
        """Tell of a call what was found in a message that is part of it."""
        if self._enforcement is not None:
            self._enforcement.take_over(call, judged)

    async def inspect_message(
        self, call: Call, content: bytes, body: Json, *, within: Path = (), act: bool = True
    ) -> tuple[Refusal | None, MessageTap]:
        """Read the WebSocket message that begins a call; return what reads its answer.

        It has passed ``gate_message``. ``body`` is the request that stands in it at ``within``;
        without ``act`` it is put together of messages that were judged one by one.
        """
        bounds = self._bounds
        gate = self._enforcement.gate(call) if self._enforcement else None
        tap = call.tap = MessageTap(
            max_bytes=bounds.answer_bytes,
            keep=self._keep_bodies,
            on_events=call.first_word.hear,
            gate=MessageGate(call.dialect, gate.judge, gate.bounds, gate.blocks) if gate else None,
        )
        call.request_bytes = len(content)
        if self._keep_bodies:
            call.request_body = Body(content=content, media_type="application/json")
        began = time.monotonic()
        try:
            await off_loop(len(content), self._reader.understand, call, body)
        except TooManyCredentials as error:
            return await self.refuse(call, *fault(error)), tap
        call.know(stream=True)
        call.status = 101
        call.span("inspect", began, time.monotonic())
        refusal = (
            await self._judge(call, content, body, within=within, act=act)
            or await self._admit(call, content, body, within=within, act=act)
            or await self._begin(call)
        )
        return refusal, tap

    def more_input(self, call: Call, body: Json) -> None:
        """Read what a client adds to a call that runs already."""
        more = call.dialect.request(body, call.route)
        call.view = replace(
            call.view,
            parts=[*call.view.parts, *more.parts],
            media=[*call.view.media, *more.media],
        )
        self._reader.note_unread(call, more, body)

    async def open_session(self, call: Call) -> Refusal | None:
        """Refuse a WebSocket on which no call could ever be admitted."""
        no = self._admissions.opens(call) if self._admissions is not None else None
        return await self.refuse(call, no.status, no.code, no.message, no.details) if no else None

    async def pass_unread(self, call: Call) -> Refusal | None:
        """Put a request on record whose body goes on unread."""
        return await self._admit(call, b"", None) or await self._begin(call)

    async def refuse(
        self,
        call: Call,
        status: int,
        code: str,
        message: str,
        details: Mapping[str, Json] = NOTHING,
        headers: Mapping[str, str] = DO_NOT_RETRY,
    ) -> Refusal:
        """End a call that the provider will not see.

        ``details`` are further members of the error; ``headers`` are of the answer.
        """
        self._counters.count("refused", code)
        body = call.dialect.refusal(status=status, code=code, message=message)
        refusal = Refusal(
            status=status,
            code=code,
            message=message,
            body=with_details(body, code, details),
            details=details,
            headers=headers,
        )
        call.know(verdict=Verdict.BLOCK)
        call.status = status
        await self.finish(call, outcome=Outcome.REFUSED, code=code, message=message)
        return refusal

    async def _begin(self, call: Call) -> Refusal | None:
        body = call.request_body
        if body is not None:
            body = await off_loop(len(body.content), scrubbed, call, body)
        try:
            await self._journal.begin(call.trace, body)
            call.recorded = True
        except JournalUnavailable as error:
            logger.error("call %s cannot be recorded: %s", call.id, error)
            self._counters.count("audit_failures")
            if self._refuse_unrecorded:
                return await self.refuse(call, 503, "audit_unavailable", RECORD_ERROR)
        return None

    # --- inspect the answer -----------------------------------------------------------------

    def answer(
        self, call: Call, *, status: int, headers: Mapping[str, str]
    ) -> AnswerTap | GatedTap:
        """The head of the answer is here: return what is to read its body.

        In enforcement that is a ``GatedTap``: what it returns goes on, and nothing else.
        """
        call.answered(status, headers)
        media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        reading: dict[str, Any] = {
            "media_type": media_type,
            "content_encoding": headers.get("content-encoding", ""),
            "max_bytes": self._bounds.answer_bytes,
            "max_frame": self._bounds.frame_bytes,
            "keep": self._keep_bodies,
            "on_events": call.first_word.hear,
        }
        gate = self._enforcement.gate(call) if self._enforcement and status < 400 else None
        if gate is not None and is_text(media_type):
            tap: AnswerTap | GatedTap = GatedTap(
                call.dialect,
                gate.judge,
                bounds=gate.bounds,
                blocks=gate.blocks,
                whole=not call.known.get("stream"),
                **reading,
            )
        else:
            tap = AnswerTap(call.dialect, **reading)
        call.tap = tap
        return tap

    # --- settle and record ------------------------------------------------------------------

    async def finish(
        self, call: Call, *, outcome: Outcome | None = None, code: str = "", message: str = ""
    ) -> None:
        """End a call: price it and hand its END record to the journal. Once; then nothing."""
        if call.ended:
            return
        call.ended = True
        try:
            await self._end(call, outcome, code, message)
        finally:
            if self._admissions is not None:
                self._admissions.settle(call)
            if self._watch is not None:
                self._watch.after(call.trace)

    async def _end(self, call: Call, outcome: Outcome | None, code: str, message: str) -> None:
        size = max(call.request_bytes, call.tap.decoded if call.tap else 0, settle.waits(call))
        try:
            record = await off_loop(size, self._settled, call, outcome, code, message)
            if call.begins is not None:
                await off_loop(LARGE, self._deferred.begin, *call.begins)
        except FAULTS as error:
            if is_cancelled():
                raise
            self._counters.count("settle_failed")
            report("settle", error)
            record = settle.bare(call, outcome=outcome, code=code, now=time.monotonic())
        if self._admissions is not None:
            record = self._admissions.charged(call, record)
        settle.count(record.trace, self._counters)
        try:
            await self._journal.end(record)
        except JournalUnavailable as error:
            logger.error("the end of call %s cannot be recorded: %s", call.id, error)
            self._counters.count("audit_failures")

    def _settled(self, call: Call, outcome: Outcome | None, code: str, message: str) -> Record:
        return settle.record(
            call,
            outcome=outcome,
            code=code,
            message=message,
            prices=self._prices,
            conversations=self._conversations,
            deferred=self._deferred,
            now=time.monotonic(),
            keep_bodies=self._keep_bodies,
            enforcement=self._enforcement,
        )
