"""Every way in which a call can end has one charge."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from llmtrace.domain.traces import NOT_SENT, Coverage, Outcome, Trace
from llmtrace.domain.usage import Usage, UsageSource
from llmtrace.limits.charging import Charge, charge_of
from llmtrace.storage.ledger import LARGEST

SOME = Coverage(answer_bytes=100)
RESERVED = {"usd": 1000, "tokens": 50, "calls": 1}
PROVIDER, ESTIMATED, NONE = UsageSource.PROVIDER, UsageSource.ESTIMATED, UsageSource.NONE


def trace(outcome: Outcome, source: UsageSource = NONE, **values: Any) -> Trace:
    usage = Usage(input_tokens=7, output_tokens=values.pop("output", 3))
    return Trace(
        trace_id="t",
        started_at=datetime(2026, 11, 21, tzinfo=UTC),
        tenant="default",
        agent="a",
        outcome=outcome,
        usage=usage if source is not NONE else Usage(),
        usage_source=source,
        **values,
    )


WHOLE = Charge(kind="expire_charge", usd=1000, tokens=50)
BACK = Charge(kind="expire_release")
RELEASED = Charge(kind="release")


def settled(usd: int, tokens: int = 10, *, overrun: bool = False) -> Charge:
    return Charge(kind="settle", usd=usd, tokens=tokens, overrun=overrun)


@pytest.mark.parametrize(
    ("ended", "strict", "estimate"),
    [
        pytest.param(
            trace(Outcome.OK, PROVIDER, status=200, cost_nano_usd=40),
            settled(40),
            settled(40),
            id="success-with-usage",
        ),
        pytest.param(
            trace(Outcome.OK, PROVIDER, status=200, cost_nano_usd=0),
            settled(0),
            settled(0),
            id="an-explicit-0-is-0",
        ),
        pytest.param(
            trace(Outcome.OK, ESTIMATED, status=200, cost_nano_usd=40),
            settled(40),
            settled(40),
            id="success-without-usage",
        ),
        pytest.param(
            trace(Outcome.OK, PROVIDER, status=200, cost_nano_usd=5000),
            settled(5000, overrun=True),
            settled(5000, overrun=True),
            id="overrun-is-booked-whole",
        ),
        pytest.param(
            trace(Outcome.OK, ESTIMATED, status=200, cost_nano_usd=5000),
            settled(1000),
            settled(5000, overrun=True),
            id="no-estimate-is-more-than-what-cannot-be-exceeded",
        ),
        pytest.param(
            trace(Outcome.OK, PROVIDER, status=200, cost_nano_usd=LARGEST + 1),
            settled(LARGEST, overrun=True),
            settled(LARGEST, overrun=True),
            id="nothing-is-more-than-a-ledger-counts",
        ),
        pytest.param(
            trace(Outcome.CLIENT_LEFT, ESTIMATED, status=200, cost_nano_usd=20, coverage=SOME),
            settled(20),
            settled(20),
            id="client-left-in-the-middle",
        ),
        pytest.param(
            trace(Outcome.STOPPED, PROVIDER, status=200, cost_nano_usd=20),
            settled(20),
            settled(20),
            id="output-blocked",
        ),
        pytest.param(
            trace(Outcome.PROVIDER_ERROR, NONE, status=500), RELEASED, RELEASED, id="status-500"
        ),
        pytest.param(
            trace(Outcome.PROVIDER_ERROR, NONE, status=429), RELEASED, RELEASED, id="status-429"
        ),
        pytest.param(
            trace(Outcome.PROVIDER_ERROR, ESTIMATED, status=200, output=0, cost_nano_usd=2),
            RELEASED,
            RELEASED,
            id="an-error-event-before-any-word",
        ),
        pytest.param(
            trace(Outcome.PROVIDER_ERROR, ESTIMATED, status=200, cost_nano_usd=9),
            settled(9),
            settled(9),
            id="an-error-event-after-some-words",
        ),
        pytest.param(
            trace(Outcome.PROVIDER_ERROR, PROVIDER, status=200, output=0, cost_nano_usd=9),
            settled(9, 7),
            settled(9, 7),
            id="an-error-event-after-usage",
        ),
        pytest.param(trace(Outcome.CONNECT_FAILED), RELEASED, RELEASED, id="not-reached"),
        pytest.param(trace(Outcome.REFUSED), RELEASED, RELEASED, id="refused"),
        pytest.param(
            trace(Outcome.CLIENT_LEFT, attributes={NOT_SENT: "true"}),
            RELEASED,
            RELEASED,
            id="client-left-before-it-was-sent",
        ),
        pytest.param(
            trace(Outcome.TIMEOUT, ESTIMATED, status=504, cost_nano_usd=5, output=0),
            WHOLE,
            settled(5, 7),
            id="sent-and-no-answer",
        ),
        pytest.param(
            trace(Outcome.BROKEN, ESTIMATED, cost_nano_usd=5, output=0),
            WHOLE,
            settled(5, 7),
            id="sent-and-cut-off",
        ),
        pytest.param(
            trace(Outcome.OK, PROVIDER, status=200),
            settled(1000),
            settled(1000),
            id="no-price-is-the-reserved-one",
        ),
        pytest.param(
            trace(Outcome.OK, NONE, status=200),
            settled(1000, 50),
            settled(1000, 50),
            id="nothing-known-is-not-free",
        ),
        pytest.param(
            trace(Outcome.OK, NONE, status=200, response_id="resp_1"),
            replace(WHOLE, told_later=True),
            replace(BACK, told_later=True),
            id="an-answer-that-comes-later",
        ),
        pytest.param(trace(Outcome.INTERRUPTED), WHOLE, BACK, id="the-gateway-died"),
        pytest.param(
            trace(Outcome.INTERRUPTED, attributes={NOT_SENT: "true"}),
            RELEASED,
            RELEASED,
            id="the-gateway-died-before-it-was-sent",
        ),
    ],
)
def test_charge(ended: Trace, strict: Charge, estimate: Charge) -> None:
    assert charge_of(ended, RESERVED, strict=True) == strict
    assert charge_of(ended, RESERVED, strict=False) == estimate


def test_a_call_that_goes_on_is_not_charged_yet() -> None:
    assert charge_of(trace(Outcome.PENDING), RESERVED, strict=True) is None


def test_what_is_expired_leaves_the_sum_to_the_ledger() -> None:
    assert WHOLE.settlement("id", "tenant").amounts == {}
    assert settled(3, 4).settlement("id", "tenant").amounts == {"usd": 3, "tokens": 4}
