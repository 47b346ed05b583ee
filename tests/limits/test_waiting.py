"""What waits at a desk."""

import asyncio
from collections.abc import Callable

import pytest

from llmtrace.limits.waiting import Fresh, NotAsked, Queues, prepared, unlimited
from llmtrace.storage.ledger import Admission, LedgerUnavailable, Node, Pace


def test_a_call_that_has_gone_on_is_denied_by_no_limit() -> None:
    node = Node(key="day", unit="usd", limit=1, ends=None)
    pace = Pace(key="rate", unit="calls", emission_ns=1, burst=1)
    asked = Admission(
        id="a", tenant="t", amounts={"usd": 5, "calls": 1}, nodes=(node,), paces=(pace,)
    )
    free = unlimited(asked)
    assert [(one.key, one.limit) for one in free.nodes] == [("day", None)]
    assert free.paces == ()
    assert (free.id, free.amounts) == (asked.id, asked.amounts)


def test_who_was_not_asked_could_not_be_reached() -> None:
    assert issubclass(NotAsked, LedgerUnavailable)
    assert Queues().asked is not Queues().asked


async def test_those_that_ask_for_nothing_or_fail_to_say_it_are_answered() -> None:
    loop = asyncio.get_running_loop()
    asked = Admission(id="a", tenant="t", amounts={"calls": 1})

    def fails() -> Admission:
        raise ValueError("no such thing")

    def left() -> Admission:
        raise AssertionError("its client has left")

    says: list[Callable[[], Admission | None]] = [lambda: asked, fails, lambda: None, left]
    calls = [Fresh(prepare, loop.create_future()) for prepare in says]
    calls[-1].answer.cancel()
    group = prepared(calls)
    assert [one.admission for one in group] == [asked]
    assert calls[0].asked is group[0]
    with pytest.raises(ValueError, match="no such thing"):
        await calls[1].answer
    assert await calls[2].answer is None
    assert prepared(calls[:1]) == group, "it is not prepared again"
