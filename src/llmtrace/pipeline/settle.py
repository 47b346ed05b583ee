"""Makes the END record of a call: what it said, used and cost, and what was not read."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Final

from llmtrace.analyzers.actions import ToolUse, read_actions
from llmtrace.domain.answers import Answer, ChannelKind, Failed
from llmtrace.domain.parts import Part, Role
from llmtrace.domain.traces import (
    NOT_SENT,
    AgentAction,
    Body,
    Coverage,
    Outcome,
    Record,
    Span,
    Texts,
    Trace,
)
from llmtrace.domain.usage import Usage, UsageSource
from llmtrace.pipeline.answer import MessageTap
from llmtrace.pipeline.call import Call
from llmtrace.pipeline.conversation import Conversations
from llmtrace.pipeline.counters import Counters
from llmtrace.pipeline.enforcement import Enforcement
from llmtrace.pipeline.gated import GatedTap
from llmtrace.pipeline.streaming import Blocked
from llmtrace.pipeline.streaming.stops import BROKEN_OFF, FRAME_TOO_LARGE, TOO_LONG
from llmtrace.pipeline.threads import LARGE
from llmtrace.providers.pricing import UNPRICED, PriceBook, partial
from llmtrace.providers.tokens import count_tokens
from llmtrace.providers.usage import read_usage
from llmtrace.storage.deferred import Deferred, Owed

MAX_ARGUMENT_CHARS: Final = 4096
MAX_SEARCH_CHARS: Final = 256 * 1024
MAX_ERROR_CHARS: Final = 500
MAX_ACTIONS: Final = 256
LIMITS: Final = {
    "answer_over_limit": "answer_bytes",
    "frame_too_large": "frame_bytes",
    TOO_LONG: "answer_bytes",
    FRAME_TOO_LARGE: "frame_bytes",
}
"""Why a part of an answer was not read, or did not pass → the key of ``limits`` that it met."""
_BATCH_ID: Final = re.compile(r"/batches/([^/?#:]+)", re.IGNORECASE)
SPEECH: Final = frozenset({ChannelKind.TEXT, ChannelKind.REFUSAL, ChannelKind.TRANSCRIPT})
BILLED: Final = frozenset({*SPEECH, ChannelKind.REASONING})
ASSISTANT: Final = frozenset({Role.ASSISTANT, Role.TOOL_CALL})
GARBLED: Final = frozenset(
    {
        "answer_over_limit",
        "bad_frame",
        "bad_json",
        "broken_coding",
        "cut_coding",
        "cut_frame",
        "frame_too_large",
        "unknown_coding",
    }
)
"""Reasons for which text of an answer was not read."""
FETCHES: Final = frozenset({"batch", "retrieve"})
"""Operations that fetch answers which other calls began."""
BYTES_PER_TOKEN: Final = 4
CONTEXT: Final = frozenset({Role.SYSTEM, Role.TOOL_DESCRIPTION})


def record(
    call: Call,
    *,
    outcome: Outcome | None,
    code: str,
    message: str,
    prices: PriceBook | None,
    conversations: Conversations,
    deferred: Deferred,
    now: float,
    keep_bodies: bool = True,
    enforcement: Enforcement | None = None,
) -> Record:
    """Return the END record. ``outcome`` None means that the answer came to its end."""
    answer = call.tap.close() if call.tap else Answer()
    if enforcement is not None and call.tap is not None:
        enforcement.answer(call, answer)
    ending, code, message = _ending(call, answer, outcome, code, message)
    if _comes_later(call, answer) or _is_new_batch(call, answer):
        call.begins = (_later_id(call, answer), _owed(call))
    usage, source = _usage(call, answer, _sent(call, ending))
    call.know(
        usage=usage,
        usage_source=source,
        outcome=ending,
        status=call.status,
        error_code=code,
        error=call.credentials.scrub(message)[:MAX_ERROR_CHARS],
        model_answered=answer.model,
        response_id=answer.response_id,
        service_tier=answer.service_tier,
        stop_reason=answer.stop_reasons[0] if answer.stop_reasons else "",
        conversation=_conversation(call, answer, conversations),
        actions=_actions(call, answer, MAX_ARGUMENT_CHARS if keep_bodies else 0),
        coverage=_coverage(call),
        duration_ms=(now - call.head.started) * 1000,
        ttft_ms=_first_token_ms(call),
        spans=_spans(call, now),
    )
    if prices is not None and _charged(call, answer, source, deferred):
        _price(call, prices, answer, usage)
    elif call.route.operation == "batch":
        call.know(price_version=partial("", ["batch"]))
    return Record(
        trace=call.trace,
        request=None if call.recorded else call.request_body,
        answer=_kept(call) if keep_bodies else None,
        texts=_texts(call, answer) if keep_bodies else Texts(),
    )


def bare(call: Call, *, outcome: Outcome | None, code: str, now: float) -> Record:
    """Return the END record of a call of which nothing more can be told, by a fault of ours."""
    blocked = _blocked(call)
    call.know(
        outcome=Outcome.STOPPED if blocked else outcome or call.outcome_of_status,
        status=call.status,
        error_code=blocked.code if blocked else code,
        duration_ms=(now - call.head.started) * 1000,
    )
    call.gap("internal_error", 1)
    call.know(coverage=Coverage(request_bytes=call.request_bytes, gaps=tuple(call.gaps)))
    return Record(trace=call.trace, request=None, answer=None, texts=Texts())


def count(trace: Trace, counters: Counters) -> None:
    """Count a call by how it ended, and what of it has no price by its name."""
    counters.count("calls", trace.outcome)
    if missing := trace.price_version.partition(UNPRICED)[2]:
        counters.count("unpriced", missing)
    reasons = (trace.error_code, *(gap.reason for gap in trace.coverage.gaps))
    for limit in {LIMITS[reason] for reason in reasons if reason in LIMITS}:
        counters.count("limit_exceeded", limit)


def _first_token_ms(call: Call) -> float | None:
    """Return when the first token was there: of a whole answer, when its first byte was."""
    first = call.first_word.at if call.known.get("stream") else call.first_byte
    return (first - call.head.started) * 1000 if first else None


def _ending(
    call: Call, answer: Answer, outcome: Outcome | None, code: str, message: str
) -> tuple[Outcome, str, str]:
    """Return how the call ended. A client that leaves after the terminal event had it all."""
    blocked = _blocked(call)
    if blocked is not None and outcome is not Outcome.CLIENT_LEFT:
        ending = Outcome.BROKEN if blocked.code == BROKEN_OFF else Outcome.STOPPED
        return ending, blocked.code, blocked.message
    if outcome is Outcome.CLIENT_LEFT and answer.complete:
        outcome, code, message = None, "", ""
    if outcome is not None:
        return outcome, code, message
    if answer.error is not None:
        return Outcome.PROVIDER_ERROR, *_failure(answer.error)
    if call.outcome_of_status is Outcome.PROVIDER_ERROR:
        return Outcome.PROVIDER_ERROR, f"http_{call.status}", ""
    if (
        call.known.get("stream")
        and not answer.complete
        and not answer.stop_reasons
        and call.route.billable
    ):
        return Outcome.BROKEN, "no_terminal_event", "the stream ended before its terminal event"
    return Outcome.OK, "", ""


def _blocked(call: Call) -> Blocked | None:
    """Return why the gateway stopped an answer, None if it did not."""
    tap = call.tap
    if isinstance(tap, GatedTap):
        return tap.blocked
    gate = tap.gate if isinstance(tap, MessageTap) else None
    return gate.blocked if gate else None


def _failure(error: Failed) -> tuple[str, str]:
    return error.code or "provider_error", error.message


def _sent(call: Call, ending: Outcome) -> bool:
    """Whether the provider may have worked on it, and charge for it."""
    if ending in (Outcome.REFUSED, Outcome.CONNECT_FAILED) or NOT_SENT in _attributes(call):
        return False
    own = call.first_byte is None or ending is Outcome.STOPPED  # the status is the gateway's
    return own or call.status is None or call.status < 400


def _attributes(call: Call) -> Mapping[str, str]:
    found: Mapping[str, str] = call.known.get("attributes", {})
    return found


def _comes_later(call: Call, answer: Answer) -> bool:
    """Whether this answer only says that there will be one (``queued``, ``in_progress``)."""
    begun = bool(answer.response_id) and not (answer.complete or answer.stop_reasons)
    return begun and not call.known.get("stream") and call.route.billable and answer.error is None


def _is_new_batch(call: Call, answer: Answer) -> bool:
    """Whether this call has begun a batch, whose answers will be fetched."""
    new = call.route.operation == "batch" and call.head.method == "POST"
    return new and bool(answer.response_id) and not _BATCH_ID.search(call.head.path)


def _later_id(call: Call, answer: Answer) -> str:
    """Return what an answer that comes later is known by when it begins and when it is there."""
    named = _BATCH_ID.search(call.head.path) if call.route.operation == "batch" else None
    found = named[1] if named else answer.response_id.rpartition("/")[2]
    return f"{call.route.provider}:{found}"


def _owed(call: Call) -> Owed:
    held = call.held
    return Owed(id=held.admission.id, tenant=held.admission.tenant) if held else Owed()


def waits(call: Call) -> int:
    """Return ``LARGE`` for a call of which it is looked up, maybe elsewhere, what is owed."""
    return LARGE if call.route.operation in FETCHES else 0


def _charged(call: Call, answer: Answer, source: UsageSource, deferred: Deferred) -> bool:
    """Whether this call is where its tokens are paid for."""
    if call.route.operation in FETCHES:
        told = source is UsageSource.PROVIDER
        call.redeems = deferred.take(_later_id(call, answer)) if told else None
        return call.redeems is not None
    billable = call.route.billable and call.view.billable
    return billable and source is not UsageSource.NONE


def _usage(call: Call, answer: Answer, sent: bool) -> tuple[Usage, UsageSource]:
    model = answer.model or call.known.get("model", "")
    told = read_usage(call.route.provider, call.route.dialect, answer.usage, model)
    if told is not None and not _is_partial(call, answer):
        return told, UsageSource.PROVIDER
    guess = call.route.billable and call.view.billable and not call.route.generic
    if not sent or not guess or _comes_later(call, answer):
        return (told, UsageSource.PROVIDER) if told else (Usage(), UsageSource.NONE)
    guessed = Usage(
        input_tokens=count_tokens(part.text for part in call.view.parts),
        output_tokens=count_tokens(_written(answer)) + _unread_tokens(call),
    )
    return _at_least(told, guessed) if told else (guessed, UsageSource.ESTIMATED)


def _unread_tokens(call: Call) -> int:
    """Guess how many tokens stand in what of an answer could not be read."""
    gaps = call.tap.gaps if call.tap else ()
    return sum(gap.size for gap in gaps if gap.reason in GARBLED) // BYTES_PER_TOKEN


def _is_partial(call: Call, answer: Answer) -> bool:
    """Whether a stream ended before its usage could be told in full."""
    return bool(call.known.get("stream")) and not (answer.complete or answer.stop_reasons)


def _at_least(told: Usage, guessed: Usage) -> tuple[Usage, UsageSource]:
    """Return what was told so far of a stream that broke off, and what was written since."""
    if guessed.output_tokens <= told.output_tokens and told.input_tokens:
        return told, UsageSource.PROVIDER
    usage = replace(
        told,
        input_tokens=told.input_tokens or guessed.input_tokens,
        output_tokens=max(told.output_tokens, guessed.output_tokens),
    )
    return usage, UsageSource.ESTIMATED


def _written(answer: Answer) -> Iterator[str]:
    """Go through all that the model wrote."""
    yield from (text for channel, text in answer.texts.items() if channel.kind in BILLED)
    for tool in answer.tool_calls:
        yield tool.name
        yield tool.arguments


def _price(call: Call, prices: PriceBook, answer: Answer, usage: Usage) -> None:
    cost = prices.price_answer(
        call.route.provider,
        (answer.model, str(call.known.get("model", ""))),
        usage,
        answer.usage,
        at=call.head.started_at,
        service_tier=answer.service_tier,
    )
    if cost is None:
        call.know(price_version=partial("", ["model"]))
        return
    unread = call.route.operation == "batch" and call.tap is not None and call.tap.gaps
    version = partial(cost.price_version, ["unread"]) if unread else cost.price_version
    call.know(cost_nano_usd=cost.nano_usd, price_version=version)


def _conversation(call: Call, answer: Answer, conversations: Conversations) -> str:
    if not call.view.parts:
        return str(call.known.get("conversation", ""))
    return conversations.finish(call.thread, answer)


def _actions(call: Call, answer: Answer, argument_chars: int) -> tuple[AgentAction, ...]:
    """Return what the answer's tool calls do: the calls, and their commands, files and pages."""
    scrub = call.credentials.scrub
    done = (
        action
        for tool in answer.tool_calls[:MAX_ACTIONS]
        for action in read_actions(
            ToolUse(name=tool.name, arguments=scrub(tool.arguments)), tool.call_id[:128]
        )
    )
    return tuple(
        replace(action, name=action.name[:256], arguments=action.arguments[:argument_chars])
        for action in islice(done, MAX_ACTIONS)
    )


def _coverage(call: Call) -> Coverage:
    gaps = tuple(call.gaps) + (call.tap.gaps if call.tap else ())
    answer_bytes = call.tap.decoded or call.tap.received if call.tap else 0
    return Coverage(
        request_bytes=call.request_bytes,
        answer_bytes=answer_bytes,
        gaps=gaps,
        texts=tuple(call.scanned.values()),
    )


def _spans(call: Call, now: float) -> tuple[Span, ...]:
    if call.first_byte is not None:
        sent = call.head.started + (
            (call.spans[-1].offset_ms + call.spans[-1].duration_ms) / 1000 if call.spans else 0
        )
        call.span("provider", sent, call.first_byte)
        call.span("answer", call.first_byte, now)
    return tuple(call.spans)


def _kept(call: Call) -> Body | None:
    if call.tap is None or not call.tap.content:
        return None
    content = call.credentials.scrub_bytes(call.tap.content)
    return Body(content=content, media_type=call.tap.media_type)


def _texts(call: Call, answer: Answer) -> Texts:
    """Return what is new in this call: what came after the assistant's last words."""
    parts = call.view.parts
    last = max((i for i, part in enumerate(parts) if part.role in ASSISTANT), default=-1)
    new = [part for part in parts[last + 1 :] if last < 0 or part.role not in CONTEXT]
    said = [text for channel, text in answer.texts.items() if channel.kind in SPEECH]
    scrub = call.credentials.scrub
    return Texts(prompt=scrub(_joined(new)), answer=scrub("\n".join(said)[:MAX_SEARCH_CHARS]))


def _joined(parts: list[Part]) -> str:
    texts, room = [], MAX_SEARCH_CHARS
    for part in parts:
        if part.role is Role.TOOL_DESCRIPTION:
            continue
        texts.append(part.text[:room])
        room -= len(part.text)
        if room <= 0:
            break
    return "\n".join(texts)
