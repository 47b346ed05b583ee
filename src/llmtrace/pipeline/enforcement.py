"""Runs detection on calls: within its time, off the loop, and with a verdict when it fails."""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from llmtrace.analyzers.base import Context, Direction
from llmtrace.domain.answers import Answer
from llmtrace.domain.findings import Finding, Verdict
from llmtrace.domain.parts import ORIGIN_OF, Part, Path, Role
from llmtrace.domain.traces import Body
from llmtrace.logs import origin
from llmtrace.pipeline.call import Call
from llmtrace.pipeline.counters import Counters
from llmtrace.pipeline.detection import Detection, DetectionTimeout
from llmtrace.pipeline.judgements import ORDER, Caller, Judgement, kept, worst
from llmtrace.pipeline.judging import AnswerJudge
from llmtrace.pipeline.reencoding import as_written
from llmtrace.pipeline.resigning import is_fixed
from llmtrace.pipeline.streaming import GateBounds, Style
from llmtrace.pipeline.threads import JUDGED_HERE, is_cancelled, off_loop
from llmtrace.pipeline.unfinished import DetectorFailed
from llmtrace.policy.notices import block_message
from llmtrace.providers.base import Json, RequestView
from llmtrace.providers.editing import EditFailed, edit

logger = logging.getLogger(__name__)

FAULTS: Final = (Exception, asyncio.CancelledError)
"""What a detector may raise, whatever it promises."""
FAILED: Final = "LLMTrace could not judge this call, and is set to refuse what it cannot judge."
SIGNED: Final = (
    "LLMTrace would have changed this request, and its signature (AWS SigV4) forbids it. Use a "
    "bearer key, a policy that allows it, or keys in resigning.aws."
)
UNEDITABLE: Final = "LLMTrace would have changed this request, and could not without harm."
"""Of what, and how to learn more, is told after it."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a call must not go on."""

    status: int
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What lets the answer of one call through: who judges it, and how it ends if it must."""

    judge: AnswerJudge
    bounds: GateBounds
    blocks: Style


class Enforcement:
    """Takes calls through detection. One per worker."""

    def __init__(
        self,
        detection: Detection,
        counters: Counters,
        *,
        bounds: GateBounds,
        block_style: Style = "error",
        block_status: int = 400,
        fail_open: bool = False,
    ) -> None:
        self.detection = detection
        self._counters = counters
        self._bounds = bounds
        self._block_style: Style = block_style
        self._block_status = block_status
        self._fail_open = fail_open

    async def request(
        self, call: Call, content: bytes, body: Json, *, within: Path = (), act: bool = True
    ) -> Stop | None:
        """Judge a request that was read: note its findings, change it, or say why it must stop.

        What is to be forwarded instead of ``content`` is in ``call.forward`` then. ``body`` is
        what stands in ``content`` at ``within``. Without ``act`` findings are noted only.
        """
        began = time.monotonic()
        detection = self.detection
        view = call.view
        try:
            view = call.view if body is not None else _as_text(content)
            judgement = await self._judged(call, view, len(content), body)
            self._note(call, judgement)
        except FAULTS as error:  # a detector's fault has a configured verdict
            if is_cancelled():
                raise
            for part in view.parts:
                call.read(f"request.{part.role}", part.text, scanned=False)
            return self._failed(call, "detect_request", len(content), error)
        finally:
            call.span("detect", began, time.monotonic())
        for part in view.parts:
            whole = part.path not in judgement.partly
            call.read(f"request.{part.role}", part.text, scanned=whole)
        if not detection.enforce or not act:
            return None
        stop = await self._act(call, content, judgement, within)
        if judgement.incomplete and stop is None:
            faulty = "failed" in {reason for _, reason in judgement.skipped}
            why = DetectorFailed() if faulty else DetectionTimeout()
            stop = self._failed(call, "detect_request", len(content), why)
        if call.request_body is not None and judgement.kept_edits:
            media_type = call.request_body.media_type
            kept_edits, texts = judgement.kept_edits, judgement.texts
            shown = await off_loop(len(content), _changed, content, kept_edits, texts, within)
            call.request_body = Body(content=shown, media_type=media_type) if shown else None
        if judgement.kept_edits:
            parts = [_hidden(part, judgement) for part in call.view.parts]
            call.view = replace(call.view, parts=parts)
        return stop

    async def _judged(self, call: Call, view: RequestView, size: int, body: Json) -> Judgement:
        """Judge here, or in a thread that is waited for no longer than detection may take."""
        judge, caller = self.detection.request, caller_of(call)
        if size < JUDGED_HERE and not _is_slow(self.detection, view):
            return judge(caller, view, body)
        judging = asyncio.to_thread(judge, caller, view, body)
        return await asyncio.wait_for(judging, self.detection.seconds)

    async def _act(
        self, call: Call, content: bytes, judgement: Judgement, within: Path
    ) -> Stop | None:
        if judgement.blocked is not None:
            one = judgement.blocked
            message = block_message(one.kind, one.rule, what="request", trace_id=call.id)
            return Stop(self._block_status, "llmtrace_blocked", message)
        if judgement.entangled:
            return self._uneditable(call, judgement)
        if not judgement.edits:
            return None
        if is_fixed(call):
            why = f" It cannot be signed anew: {call.unsignable}." if call.unsignable else ""
            return Stop(self._block_status, "llmtrace_blocked_signed", SIGNED + why)
        changed = await off_loop(
            len(content), _changed, content, judgement.edits, judgement.texts, within
        )
        if changed is None:
            return self._uneditable(call, judgement)
        call.forward = changed
        self._counters.count("edited_requests")
        return None

    def _uneditable(self, call: Call, judgement: Judgement) -> Stop:
        verdicts = (Verdict.REDACT, Verdict.QUARANTINE)
        one = next((found for found in judgement.findings if found.verdict in verdicts), None)
        more = one and block_message(one.kind, one.rule, what="request", trace_id=call.id)
        message = f"{UNEDITABLE} {more}" if more else UNEDITABLE
        return Stop(self._block_status, "llmtrace_blocked_uneditable", message)

    def gate(self, call: Call) -> Gate | None:
        """Return what lets a call's answer through, None where answers pass as they come."""
        if not self.detection.enforce:
            return None
        judge = AnswerJudge(self.detection, caller_of(call))
        return Gate(judge=judge, bounds=self._bounds, blocks=self._block_style)

    def answer(self, call: Call, answer: Answer) -> None:
        """Note what there is to find in an answer that has ended. Never raises."""
        try:
            judged = self.detection.answer(caller_of(call), answer)
            self._note(call, judged)
            judgement: Judgement | None = judged
        except FAULTS as error:  # as above; the answer has gone by
            self._counters.count("detection_failed", "detect_answer")
            report("detect_answer", error)
            call.gap("detection_failed", call.tap.decoded if call.tap else 1)
            judgement = None
        partly = judgement.partly if judgement else frozenset(answer.texts)
        for channel, text in answer.texts.items():
            call.read(f"answer.{channel.kind}", text, scanned=channel not in partly)
        for tool in answer.tool_calls:
            scanned = judgement is not None and tool.channel not in partly
            call.read("answer.tool_call", tool.arguments, scanned=scanned)

    def _note(self, call: Call, judgement: Judgement) -> None:
        for detector, reason in judgement.skipped:
            self._counters.count("detector_skipped", detector)
            call.gap(f"detector_{reason}", 1, detector)
        if not judgement.findings:
            return
        for one in judgement.findings:
            self._counters.count("findings", one.kind)
        self._know(call, judgement.findings)

    def take_over(self, call: Call, judged: Call) -> None:
        """Tell of a call what was found in a message that was judged by itself.

        What is put together of such messages is read once more with its call. So it is only told
        there of what was changed meanwhile, and of what was not read.
        """
        again = call.known["dialect"] == "openai.realtime"
        found = [f for f in judged.findings if not again or ORDER[f.verdict] > ORDER[Verdict.FLAG]]
        call.gaps += judged.gaps
        if found:
            self._know(call, found)

    def _know(self, call: Call, found: Sequence[Finding]) -> None:
        findings = kept([*call.findings, *found])
        call.findings = list(findings)
        verdict = worst(findings)
        if not self.detection.enforce and ORDER[verdict] > ORDER[Verdict.FLAG]:
            verdict = Verdict.FLAG
        call.know(findings=findings, verdict=verdict)

    def _failed(self, call: Call, stage: str, size: int, error: BaseException) -> Stop | None:
        self._counters.count("detection_failed", stage)
        if not isinstance(error, DetectorFailed):
            report(stage, error)
        if self._fail_open:
            call.gap("detection_failed", size)
            return None
        timeout = isinstance(error, TimeoutError)
        return Stop(503, "detection_timeout" if timeout else "detection_failed", FAILED)


def _hidden(part: Part, judgement: Judgement) -> Part:
    """Return a part as it is kept."""
    text = judgement.kept_edits.get(part.path)
    if text is None or judgement.texts[part.path] != part.text:
        return part
    return replace(part, text=text)


def caller_of(call: Call) -> Caller:
    """Return whose call it is."""
    known = call.known
    return Caller(
        tenant=known["tenant"],
        agent=known["agent"],
        provider=known["provider"],
        session=known["session"],
        dialect=known["dialect"],
    )


def report(stage: str, error: BaseException) -> None:
    """Log where an error came from, without its message."""
    logger.error("%s failed inside: %s", stage, origin(error))


def _is_slow(detection: Detection, view: RequestView) -> bool:
    """Whether to judge a request takes longer than the event loop may wait, whatever its size."""
    slow = getattr(detection.analyzer, "slow", None)
    return slow is not None and any(
        slow(part.text, Context(part.role, part.origin, Direction.REQUEST)) for part in view.parts
    )


def _changed(
    content: bytes, edits: Mapping[Path, str], texts: Mapping[Path, str], within: Path
) -> bytes | None:
    """Return a document with these texts in it, None if one of them cannot be put there.

    ``texts`` are those that were read at these places: where something else stands (the name of
    a member, the base64 of the text), that is changed, or nothing.
    """
    if () in edits and texts[()].encode("utf-8", "surrogatepass") == content:  # it is no JSON
        return edits[()].encode("utf-8", "surrogatepass")
    placed = {(*within, *path): text for path, text in edits.items()}
    read = {(*within, *path): texts[path] for path in edits}
    try:
        try:
            return edit(content, placed, expected=read)
        except EditFailed:
            placed, read = as_written(content, placed, read)
            return edit(content, placed, expected=read)
    except EditFailed as error:
        logger.warning("a request could not be changed: %s", error)
        return None


def _as_text(content: bytes) -> RequestView:
    """Return a body that is no JSON as one text, as far as it is one."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return RequestView()
    role = Role.USER
    return RequestView(
        parts=[Part(role=role, origin=ORIGIN_OF[role], path=(), text=text)] if text else []
    )
