from dataclasses import replace
from datetime import UTC, datetime

import pytest

from llmtrace.domain.answers import (
    AnswerEvent,
    Channel,
    ChannelKind,
    Ended,
    Failed,
    Identified,
    Stopped,
    TextDelta,
    ToolCallOpened,
    Unread,
    UsageSeen,
)
from llmtrace.domain.parts import ORIGIN_OF, Part, Role
from llmtrace.domain.traces import ActionType, Outcome, Record
from llmtrace.domain.usage import UsageSource
from llmtrace.pipeline import settle
from llmtrace.pipeline.answer import MessageTap
from llmtrace.pipeline.call import Call, RequestHead
from llmtrace.pipeline.conversation import Conversations
from llmtrace.pipeline.counters import Counters
from llmtrace.pipeline.credentials import Credentials
from llmtrace.providers.base import RequestView, Route
from llmtrace.providers.pricing import PriceBook
from llmtrace.providers.registry import dialect
from llmtrace.providers.usage_shapes import BATCH
from llmtrace.storage.deferred import MemoryDeferred, Owed
from llmtrace.testing.records import a_trace

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
TEXT, TOOL = Channel(0, ChannelKind.TEXT), Channel(0, ChannelKind.TOOL_CALL)
SAID: list[AnswerEvent] = [TextDelta(channel=TEXT, text="Four.", path=())]
USED: list[AnswerEvent] = [UsageSeen(raw={"prompt_tokens": 100, "completion_tokens": 10})]
DONE: list[AnswerEvent] = [Stopped(choice=0, reason="stop"), Ended()]


@pytest.fixture(scope="module")
def prices() -> PriceBook:
    return PriceBook()


def part(role: Role, text: str, index: int) -> Part:
    return Part(role=role, origin=ORIGIN_OF[role], path=("messages", index, "content"), text=text)


def call(
    events: list[AnswerEvent], *, status: int = 200, stream: bool = True, billable: bool = True
) -> Call:
    head = RequestHead(
        method="POST",
        host="api.openai.com",
        port=443,
        path="/v1/chat/completions",
        headers=(),
        peer="127.0.0.1",
        mode="forward",
        started_at=NOON,
        started=100.0,
    )
    known: dict[str, object] = dict(  # noqa: C408
        trace_id="01a1fc45-1af2-7453-9fdd-2df106a332b7",
        started_at=NOON,
        tenant="t",
        agent="a",
        provider="openai",
        dialect="openai.chat",
        model="gpt-4o",
        stream=stream,
    )
    made = Call(
        head=head,
        known=known,
        credentials=Credentials([("x-api-key", "sk-planted-0000")]),
        dialect=dialect("openai.chat"),
        route=Route(provider="openai", dialect="openai.chat", operation="chat", billable=billable),
        view=RequestView(
            parts=[
                part(Role.SYSTEM, "Be brief.", 0),
                part(Role.USER, "Two and two?", 1),
                part(Role.ASSISTANT, "Four.", 2),
                part(Role.USER, "And sk-planted-0000?", 3),
            ]
        ),
        status=status,
        first_byte=100.1,
    )
    made.first_word.at = 100.2
    made.tap = MessageTap(max_bytes=1 << 20, keep=True)
    made.tap.take(events)
    return made


def settled(
    made: Call,
    prices: PriceBook | None,
    outcome: Outcome | None = None,
    deferred: MemoryDeferred | None = None,
) -> Record:
    deferred = deferred or MemoryDeferred()
    record = settle.record(
        made,
        outcome=outcome,
        code="",
        message="",
        prices=prices,
        conversations=Conversations(),
        deferred=deferred,
        now=101.0,
    )
    if made.begins is not None:
        deferred.begin(*made.begins)
    return record


def test_a_whole_answer_is_used_priced_and_timed(prices: PriceBook) -> None:
    trace = settled(call(SAID + USED + DONE), prices).trace
    assert (trace.outcome, trace.stop_reason) == (Outcome.OK, "stop")
    assert (trace.usage.input_tokens, trace.usage.output_tokens) == (100, 10)
    assert trace.cost_nano_usd == 100 * 2500 + 10 * 10_000
    assert trace.price_version.startswith("genai-prices/")
    assert trace.ttft_ms == pytest.approx(200)
    assert trace.duration_ms == pytest.approx(1000)


def test_without_usage_tokens_are_estimated_and_said_so(prices: PriceBook) -> None:
    trace = settled(call(SAID + DONE), prices).trace
    assert trace.usage_source is UsageSource.ESTIMATED
    assert trace.usage.input_tokens > 0
    assert trace.usage.output_tokens > 0


def test_an_explicit_zero_is_zero(prices: PriceBook) -> None:
    zero: list[AnswerEvent] = [UsageSeen(raw={"prompt_tokens": 0, "completion_tokens": 0})]
    trace = settled(call(SAID + zero + DONE), prices).trace
    assert (trace.usage_source, trace.cost_nano_usd) == (UsageSource.PROVIDER, 0)


@pytest.mark.parametrize(
    ("events", "status", "outcome", "expected"),
    [
        pytest.param(SAID, 200, None, Outcome.BROKEN, id="stream-without-its-end"),
        pytest.param(SAID + DONE, 200, Outcome.CLIENT_LEFT, Outcome.OK, id="left-after-the-end"),
        pytest.param(SAID, 200, Outcome.CLIENT_LEFT, Outcome.CLIENT_LEFT, id="left-before"),
        pytest.param([], 500, None, Outcome.PROVIDER_ERROR, id="status-alone"),
        pytest.param(
            [*SAID, Failed(code="overloaded", message="busy")],
            200,
            None,
            Outcome.PROVIDER_ERROR,
            id="error-in-mid-stream",
        ),
    ],
)
def test_how_a_call_ended(
    events: list[AnswerEvent], status: int, outcome: Outcome | None, expected: Outcome
) -> None:
    assert settled(call(events, status=status), None, outcome).trace.outcome is expected


def test_a_refused_call_used_nothing(prices: PriceBook) -> None:
    trace = settled(call([], status=400), prices, Outcome.REFUSED).trace
    assert (trace.usage_source, trace.cost_nano_usd) == (UsageSource.NONE, None)


def test_an_unbilled_route_costs_nothing(prices: PriceBook) -> None:
    assert settled(call(SAID + USED + DONE, billable=False), prices).trace.cost_nano_usd is None


def test_an_unknown_model_has_no_cost(prices: PriceBook) -> None:
    made = call(SAID + USED + DONE)
    made.know(model="nobody-knows-this")
    trace = settled(made, prices).trace
    assert (trace.cost_nano_usd, trace.price_version) == (None, "+unpriced:model")


def test_only_what_is_new_is_searched_and_credentials_are_out() -> None:
    record = settled(call(SAID + DONE), None)
    assert record.texts.prompt == "And [credential]?"
    assert record.texts.answer == "Four."


def test_tool_calls_become_actions_within_bounds() -> None:
    arguments = "x" * 10_000
    events: list[AnswerEvent] = [
        ToolCallOpened(channel=TOOL, call_id="c1", name="shell"),
        TextDelta(channel=TOOL, text=arguments, path=()),
        *DONE,
    ]
    action, command = settled(call(events), None).trace.actions
    assert command.action_type is ActionType.COMMAND_EXECUTION
    assert (action.name, action.call_id) == ("shell", "c1")
    assert len(action.arguments) == settle.MAX_ARGUMENT_CHARS


def test_an_answer_that_is_polled_is_charged_once(prices: PriceBook) -> None:
    deferred = MemoryDeferred()
    named: list[AnswerEvent] = [Identified(response_id="resp_1", model="gpt-4o")]
    queued = settled(call(named, stream=False), prices, deferred=deferred).trace
    assert (queued.usage_source, queued.cost_nano_usd) == (UsageSource.NONE, None)
    costs = []
    for _ in range(3):
        fetch = call(named + USED + DONE, stream=False)
        fetch.route = replace(fetch.route, operation="retrieve", billable=False)
        costs.append(settled(fetch, prices, deferred=deferred).trace.cost_nano_usd)
    assert costs == [100 * 2500 + 10 * 10_000, None, None]


@pytest.mark.parametrize(
    ("version", "counted"),
    [
        ("", None),
        ("genai-prices/1@2026-11-21", None),
        ("+unpriced:model", "model"),
        ("genai-prices/1@2026-11-21+unpriced:code_execution", "code_execution"),
    ],
)
def test_what_has_no_price_is_counted(version: str, counted: str | None) -> None:
    counters = Counters()
    settle.count(replace(a_trace(), price_version=version), counters)
    calls = {f"calls{{{a_trace().outcome}}}": 1}
    assert counters.snapshot() == calls | ({f"unpriced{{{counted}}}": 1} if counted else {})


def batch_call(method: str, path: str, events: list[AnswerEvent]) -> Call:
    made = call(events, stream=False)
    made.head = replace(made.head, method=method, path=path)
    made.route = Route(provider="openai", dialect="generic", operation="batch", generic=True)
    made.view = RequestView()
    return made


BATCH_USED: list[AnswerEvent] = [
    Identified(response_id="batch_1"),
    UsageSeen(raw={BATCH: [{"model": "gpt-5", "largest": 900, "input_tokens": 1_000_000}]}),
    Ended(),
]


def test_a_batch_is_charged_once_when_its_usage_is_told(prices: PriceBook) -> None:
    deferred = MemoryDeferred()
    begun = batch_call("POST", "/v1/batches", [Identified(response_id="batch_1"), Ended()])
    polls = [batch_call("GET", "/v1/batches/batch_1", BATCH_USED) for _ in range(2)]
    traces = [settled(made, prices, deferred=deferred).trace for made in (begun, *polls)]
    assert [trace.cost_nano_usd for trace in traces] == [None, 625_000_000, None]
    assert traces[1].price_version.endswith("@2026-11-21")
    assert {traces[0].price_version, traces[2].price_version} == {"+unpriced:batch"}


@pytest.mark.parametrize(
    ("created", "fetched"),
    [
        ("batches/abc", "/v1beta/batches/abc"),
        ("abc", "/v1/messages/batches/abc/results"),
        ("abc", "/openai/v1/batches/abc?api-version=1"),
    ],
)
def test_a_batch_is_known_by_its_path(prices: PriceBook, created: str, fetched: str) -> None:
    deferred = MemoryDeferred()
    begun = batch_call("POST", "/x:batchGenerateContent", [Identified(response_id=created)])
    settled(begun, prices, deferred=deferred)
    results = batch_call("GET", fetched, BATCH_USED[1:])
    assert settled(results, prices, deferred=deferred).trace.cost_nano_usd == 625_000_000


def test_a_batch_that_is_cancelled_is_no_new_one(prices: PriceBook) -> None:
    deferred = MemoryDeferred()
    cancelled = batch_call("POST", "/v1/batches/batch_1/cancel", BATCH_USED)
    trace = settled(cancelled, prices, deferred=deferred).trace
    assert (trace.cost_nano_usd, trace.price_version) == (None, "+unpriced:batch")
    assert deferred.take("openai:batch_1") is None


def test_results_that_were_not_read_to_their_end_are_partly_priced(prices: PriceBook) -> None:
    deferred = MemoryDeferred()
    deferred.begin("openai:batch_1", Owed())
    results = batch_call("GET", "/v1/batches/batch_1", [*BATCH_USED, Unread(reason="x", size=1)])
    trace = settled(results, prices, deferred=deferred).trace
    assert trace.cost_nano_usd == 625_000_000
    assert trace.price_version.endswith("+unpriced:unread")
