"""A call is admitted before it is sent and settled when it has ended, whatever the ledger does."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from llmtrace.config.limits import CostCapsConfig, RateLimitingConfig
from llmtrace.domain.traces import NOT_SENT, Outcome
from llmtrace.limits.bounds import Bounder
from llmtrace.limits.budgets import Budgets
from llmtrace.limits.charging import CHARGED
from llmtrace.limits.limiter import Limiter
from llmtrace.limits.rates import Rates
from llmtrace.limits.waiting import NotAsked
from llmtrace.pipeline import Bounds, Call, Pipeline, RequestHead
from llmtrace.pipeline.admission import PUT, UNBOOKED, Admissions
from llmtrace.pipeline.counters import Counters
from llmtrace.pipeline.identity import Identifier
from llmtrace.providers.hosts import HostTable
from llmtrace.providers.jsongate import JsonLimits
from llmtrace.providers.pricing import PriceBook
from llmtrace.storage.ledger import (
    Admission,
    Admitted,
    Denied,
    LedgerUnavailable,
    PaceState,
    Settlement,
    Standing,
)
from llmtrace.testing.budgets import MODEL, PRICES, RESERVED, FakeDesk, answer_of
from llmtrace.testing.inprocess import RememberingJournal

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def prices() -> PriceBook:
    return PriceBook(custom_models=PRICES["custom_models"])


@pytest.fixture
def desk() -> FakeDesk:
    return FakeDesk()


@pytest.fixture
def counters() -> Counters:
    return Counters()


@pytest.fixture
def journal() -> RememberingJournal:
    return RememberingJournal()


type Make = Callable[..., Pipeline]


@pytest.fixture
def make(
    desk: FakeDesk, counters: Counters, journal: RememberingJournal, prices: PriceBook
) -> Make:
    def pipeline(*caps: dict[str, Any], rates: Any = None, **section: Any) -> Pipeline:
        config = CostCapsConfig.model_validate(
            {"enabled": True, "default_budget_caps": caps, **section}
        )
        limiter = Limiter(
            Bounder(config, prices),
            budgets=Budgets(config),
            rates=Rates(RateLimitingConfig(enabled=True, **rates)) if rates else None,
            owner="worker",
            lease_seconds=900,
        )
        return Pipeline(
            hosts=HostTable({}),
            identifier=Identifier(secret=b"s", trusted=[]),
            prices=prices,
            journal=journal,
            bounds=Bounds(
                decoded_bytes=1 << 20,
                decoded_ratio=100,
                answer_bytes=1 << 20,
                frame_bytes=1 << 20,
                json=JsonLimits(),
            ),
            counters=counters,
            admissions=Admissions(limiter, desk, counters),
        )

    return pipeline


HARD = {"window": "daily", "hard_limit_usd": "1"}
SOFT = {"window": "daily", "soft_limit_usd": "1"}


def begun(
    pipeline: Pipeline,
    *headers: tuple[str, str],
    path: str = "/v1/chat/completions",
    method: str = "POST",
) -> Call:
    head = RequestHead(
        method=method,
        host="api.openai.com",
        port=443,
        path=path,
        headers=(("content-type", "application/json"), *headers),
        peer="127.0.0.1",
        mode="forward",
        started_at=NOON,
        started=0.0,
    )
    call = pipeline.identify(head)
    assert isinstance(call, Call)
    return call


def body(**more: Any) -> bytes:
    message = {"role": "user", "content": "hi"}
    return orjson.dumps({"model": MODEL, "messages": [message], "max_tokens": 100, **more})


async def answered(pipeline: Pipeline, call: Call, tokens: int = 10) -> None:
    """Let the provider answer a call, and end it."""
    tap: Any = pipeline.answer(call, status=200, headers={"content-type": "application/json"})
    tap.receive(answer_of(tokens))
    await pipeline.finish(call)


async def test_what_a_call_may_cost_is_set_aside_and_what_it_did_is_settled(
    make: Make, desk: FakeDesk, journal: RememberingJournal
) -> None:
    pipeline = make(HARD)
    call = begun(pipeline)
    assert await pipeline.inspect(call, body()) is None
    (asked,) = desk.asked
    assert (asked.id, asked.amounts["usd"], asked.owner, asked.strict) == (
        call.id,
        RESERVED,
        "worker",
        True,
    )
    assert len(journal.begun) == 1
    await answered(pipeline, call)
    await pipeline.finish(call)
    settled = Settlement(
        id=call.id, tenant=asked.tenant, kind="settle", amounts={"usd": 100_000, "tokens": 11}
    )
    assert desk.settled == [settled]


async def test_a_denied_call_is_not_on_record_as_sent(
    make: Make, desk: FakeDesk, journal: RememberingJournal, counters: Counters
) -> None:
    desk.answer = lambda one: Denied(
        reason="exhausted", requested=RESERVED, node=one.nodes[0], spent=10**9
    )
    refusal = await make(HARD).inspect(begun(make(HARD)), body())
    assert refusal is not None
    assert (refusal.status, refusal.code) == (429, "cost_cap_exceeded")
    error = orjson.loads(refusal.body)["error"]
    assert (error["window"], error["limit_usd"], error["reason"]) == ("daily", 1.0, "exhausted")
    assert refusal.headers["x-should-retry"] == "false"
    assert int(refusal.headers["retry-after"]) > 0
    assert journal.begun == []
    assert journal.outcomes() == [Outcome.REFUSED]
    assert desk.settled == []
    assert counters.get("denied", "exhausted") == 1


@pytest.mark.parametrize(
    ("cap", "status", "settled"),
    [
        pytest.param(HARD, 503, ["release"], id="hard-denies"),
        pytest.param(SOFT, None, [], id="soft-allows"),
        pytest.param({**HARD, "on_store_unavailable": "allow"}, None, [], id="hard-that-allows"),
        pytest.param({**SOFT, "on_store_unavailable": "deny"}, 503, ["release"], id="soft-denies"),
    ],
)
async def test_while_the_ledger_is_down_each_budget_says_what_becomes_of_calls(
    make: Make,
    desk: FakeDesk,
    journal: RememberingJournal,
    cap: dict[str, Any],
    status: int | None,
    settled: list[str],
) -> None:
    desk.answer = _down
    pipeline = make(cap)
    call = begun(pipeline)
    refusal = await pipeline.inspect(call, body())
    assert (refusal.status if refusal else None) == status
    assert [one.kind for one in desk.settled] == settled
    if refusal is not None:
        assert (refusal.code, refusal.headers) == ("budget_store_unavailable", {"retry-after": "2"})
        return
    await answered(pipeline, call, tokens=7)
    ((admission, settlement),) = desk.booked
    assert (admission.id, settlement.amounts["usd"]) == (call.id, 70_000)
    assert journal.ended[0].trace.attributes[UNBOOKED] == "true"


@pytest.mark.parametrize("cut_off", [False, True])
async def test_never_asked_costs_what_was_said(make: Make, desk: FakeDesk, cut_off: bool) -> None:
    desk.answer, call = _resting, begun(make(HARD))
    call.begun = cut_off
    assert await make(HARD).inspect(call, body()) is not None
    assert [0 < one.amounts["usd"] < RESERVED for _, one in desk.booked] == [True] * cut_off
    assert desk.settled == []


def _down(_asked: Admission) -> Admitted:
    raise LedgerUnavailable("not now")


def _resting(_asked: Admission) -> Admitted:
    raise NotAsked("not now")


async def test_a_call_that_cannot_be_noted_does_not_go(make: Make, desk: FakeDesk) -> None:
    desk.answer, desk.takes_unbooked = _down, False
    assert await make(SOFT).inspect(begun(make(SOFT)), body()) is not None


async def test_a_call_that_cannot_be_recorded_is_given_back(
    make: Make, desk: FakeDesk, journal: RememberingJournal
) -> None:
    journal.broken = True
    pipeline = make(HARD)
    assert await pipeline.inspect(begun(pipeline), body()) is not None
    assert [one.kind for one in desk.settled] == ["release"]


async def test_a_fault_in_settling_charges_what_was_set_aside(
    make: Make, desk: FakeDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: object, **_more: object) -> None:
        raise RuntimeError("a fault of ours")

    pipeline = make(HARD)
    call = begun(pipeline)
    await pipeline.inspect(call, body())
    monkeypatch.setattr("llmtrace.pipeline.settle.record", broken)
    await answered(pipeline, call)
    (settlement,) = desk.settled
    assert settlement.amounts["usd"] == RESERVED


@pytest.mark.parametrize(
    ("more", "headers", "put"),
    [
        pytest.param({"stream": True}, (), "stream_options.include_usage", id="stream"),
        pytest.param(
            {"stream": True, "stream_options": {"include_obfuscation": False}},
            (),
            "stream_options.include_usage",
            id="stream-with-options",
        ),
        pytest.param(
            {"stream": True, "stream_options": {"include_usage": True}}, (), None, id="it-asks"
        ),
        pytest.param({}, (), None, id="no-stream"),
        pytest.param({"stream": True, "stream_options": [1]}, (), None, id="bad-options"),
        pytest.param(
            {"stream": True}, (("authorization", "AWS4-HMAC-SHA256 x"),), None, id="signed"
        ),
        pytest.param({"max_tokens": None}, (), "max_completion_tokens", id="no-cap"),
    ],
)
async def test_what_is_put_into_a_request_is_in_its_trace(
    make: Make, more: dict[str, Any], headers: Sequence[tuple[str, str]], put: str | None
) -> None:
    pipeline = make(HARD)
    call = begun(pipeline, *headers)
    sent = body(**more)
    assert await pipeline.inspect(call, sent) is None
    assert call.known.get("attributes", {}).get(PUT) == put
    assert (call.forward is not None) == (put is not None)
    assert call.drops_usage == (put == "stream_options.include_usage")
    if call.forward is not None and call.drops_usage:
        expected = {**orjson.loads(sent)}
        expected["stream_options"] = {**(more.get("stream_options") or {}), "include_usage": True}
        assert orjson.loads(call.forward) == expected


@pytest.mark.parametrize(
    ("more", "status"),
    [({"model": "nobody-knows-it"}, 403)]
    + [({"max_tokens": bad}, 400) for bad in (-1, 1e308, "10", True, 2**63, 0.5)],
)
async def test_what_cannot_be_bounded_is_refused(
    make: Make, desk: FakeDesk, more: dict[str, Any], status: int
) -> None:
    pipeline = make(HARD)
    refusal = await pipeline.inspect(begun(pipeline), body(**more))
    assert refusal is not None
    assert refusal.status == status
    assert desk.asked == []


async def test_a_client_that_left_before_it_was_sent_is_not_charged(
    make: Make, desk: FakeDesk
) -> None:
    pipeline = make(HARD)
    call = begun(pipeline)
    await pipeline.inspect(call, body())
    call.note(NOT_SENT, "true")
    await pipeline.finish(call, outcome=Outcome.CLIENT_LEFT)
    assert [one.kind for one in desk.settled] == ["release"]


async def test_the_trace_tells_what_was_charged_where_that_is_not_its_cost(
    make: Make, desk: FakeDesk, journal: RememberingJournal
) -> None:
    pipeline = make(HARD)
    call = begun(pipeline)
    await pipeline.inspect(call, body())
    await pipeline.finish(call, outcome=Outcome.TIMEOUT)
    assert journal.ended[0].trace.attributes == {CHARGED: str(RESERVED)}
    assert [one.kind for one in desk.settled] == ["expire_charge"]


async def test_a_warning_is_given_once(
    make: Make, desk: FakeDesk, counters: Counters, caplog: pytest.LogCaptureFixture
) -> None:
    def nearly_full(asked: Admission) -> Admitted:
        (node,) = asked.nodes
        spent = Standing(key=node.key, tenant=asked.tenant, unit="usd", spent=900_000_000)
        return Admitted(id=asked.id, standings=(spent,))

    desk.answer = nearly_full
    pipeline = make(HARD)
    for _ in range(3):
        await pipeline.inspect(begun(pipeline), body())
    assert counters.get("budget_warnings", "near_limit") == 1
    assert "$0.90 spent of a limit of $1.00" in caplog.text


async def test_an_admitted_call_tells_its_rate(make: Make, desk: FakeDesk) -> None:
    def admitted(asked: Admission) -> Admitted:
        (pace,) = asked.paces
        state = PaceState(
            key=pace.key, unit="calls", burst=pace.burst, remaining=3, reset_seconds=1.5
        )
        return Admitted(id=asked.id, paces=(state,))

    desk.answer = admitted
    pipeline = make(rates={"requests_per_second": 10, "burst_size": 5})
    call = begun(pipeline)
    assert await pipeline.inspect(call, body()) is None
    assert call.answer_headers == {
        "x-ratelimit-limit": "5",
        "x-ratelimit-remaining": "3",
        "x-ratelimit-reset": "2",
    }


async def test_what_is_free_asks_for_nothing(make: Make, desk: FakeDesk) -> None:
    pipeline = make(HARD)
    free = begun(pipeline, path="/v1/models", method="GET")
    assert await pipeline.inspect(free, b"") is None
    assert desk.asked == []


@pytest.mark.parametrize(
    ("mode", "first"), [("strict", "expire_charge"), ("estimate", "expire_release")]
)
async def test_an_answer_that_comes_later_is_paid_for_when_it_is_there(
    make: Make, desk: FakeDesk, mode: str, first: str
) -> None:
    def answer(status: str, **more: Any) -> bytes:
        return orjson.dumps({"id": "resp_1", "status": status, "model": MODEL, **more})

    async def end(call: Call, content: bytes) -> None:
        tap: Any = pipeline.answer(call, status=200, headers={"content-type": "application/json"})
        tap.receive(content)
        await pipeline.finish(call)

    pipeline = make(HARD, mode=mode)
    begins = begun(pipeline, path="/v1/responses")
    asks = {"model": MODEL, "input": "hi", "background": True, "max_output_tokens": 100}
    assert await pipeline.inspect(begins, orjson.dumps(asks)) is None
    await end(begins, answer("queued"))
    for content in (
        answer("in_progress"),
        answer("completed", output=[], usage={"input_tokens": 1, "output_tokens": 9}),
        answer("completed", output=[], usage={"input_tokens": 1, "output_tokens": 9}),
    ):
        fetches = begun(pipeline, path="/v1/responses/resp_1", method="GET")
        assert await pipeline.inspect(fetches, b"") is None
        await end(fetches, content)
    assert [(one.id, one.kind, one.amounts.get("usd")) for one in desk.settled] == [
        (begins.id, first, None),
        (begins.id, "settle", 90_000),
    ]
