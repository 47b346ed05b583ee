import logging
from collections.abc import Sequence
from typing import Any

import pytest

from llmtrace.limits.trips import admit_alone, exchange, settle_each
from llmtrace.limits.waiting import Later
from llmtrace.storage.ledger import (
    Admission,
    Admitted,
    BadAmount,
    Ledger,
    LedgerUnavailable,
    Settlement,
)


class Noting:
    """Notes what it is asked; raises for a call that is called ``bad``."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.done: list[str] = []
        self._fault = fault or ValueError("no such thing")

    def admit(self, asked: Admission) -> Admitted:
        self.done.append(f"know {asked.id}")
        return Admitted(id=asked.id)

    def exchange(
        self, settlements: Sequence[Settlement], asked: Sequence[Admission]
    ) -> Sequence[Admitted]:
        if "bad" in [one.id for one in settlements] + [one.id for one in asked]:
            raise self._fault
        self.done += [f"settle {one.id}" for one in settlements]
        self.done += [f"admit {one.id}" for one in asked]
        return [Admitted(id=one.id) for one in asked]


def ledger(fault: Exception | None = None) -> Any:
    made: Ledger = Noting(fault)  # type: ignore[assignment]  # as far as it is used
    return made


def admission(call: str) -> Admission:
    return Admission(id=call, tenant="t", amounts={})


def later(call: str, *, unknown: bool = False) -> Later:
    settlement = Settlement(id=call, tenant="t", kind="release")
    return Later(settlement, admission(call) if unknown else None)


def test_what_the_ledger_has_yet_to_hear_of_is_made_known_first() -> None:
    asked = ledger()
    exchange(asked, [later("a", unknown=True), later("b")], [admission("c")])
    assert asked.done == ["know a", "settle a", "settle b", "admit c"]


def test_one_that_cannot_be_settled_is_counted_and_the_others_are(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked = ledger()
    assert settle_each(asked, [later("a"), later("bad"), later("b")]) == 1
    assert asked.done == ["settle a", "settle b"]
    assert "call bad: not settled: ValueError" in caplog.text


@pytest.mark.parametrize(
    ("fault", "told", "counted"),
    [
        pytest.param(LedgerUnavailable("locked"), LedgerUnavailable, [], id="unavailable"),
        pytest.param(BadAmount("usd"), BadAmount, [], id="bad-amount"),
        pytest.param(
            RuntimeError("secret"), LedgerUnavailable, ["ledger_failed"], id="a-fault-inside"
        ),
    ],
)
def test_a_call_is_told_what_is_wrong_with_it(
    fault: Exception,
    told: type[Exception],
    counted: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    events: list[str] = []
    assert isinstance(admit_alone(ledger(fault), admission("bad"), events.append), told)
    assert events == counted
    assert "secret" not in caplog.text
