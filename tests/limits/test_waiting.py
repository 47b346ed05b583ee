"""What waits at a desk."""

from llmtrace.limits.waiting import NotAsked, Queues, unlimited
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
