from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrace.storage.ledger import (
    ENDS_AS,
    LARGEST,
    Admission,
    Node,
    Pace,
    SettlementKind,
    State,
)
from llmtrace.storage.ledger_sums import (
    charge,
    denial,
    drained,
    pace_states,
    standings_of,
    stands,
)
from llmtrace.storage.sqlite_values import time_in
from llmtrace.testing.ledgers import NOON

MOMENT = time_in(NOON)
NODE = Node(key="day", unit="usd", limit=100, ends=NOON + timedelta(hours=1))
PACE = Pace(key="tpm", unit="tokens", emission_ns=1000, burst=10)
RESERVED = {"usd": 5, "tokens": 7}


def asks(usd: int = 0, tokens: int = 0, *, nodes: int = 0, paces: int = 0) -> Admission:
    return Admission(
        id="1",
        tenant="acme",
        amounts={"usd": usd, "tokens": tokens},
        nodes=(NODE,) * nodes,
        paces=(PACE,) * paces,
    )


@given(
    spent=st.integers(0, LARGEST), reserved=st.integers(0, LARGEST), asked=st.integers(0, LARGEST)
)
def test_a_budget_admits_what_it_has_left(spent: int, reserved: int, asked: int) -> None:
    denied = denial(asks(asked, nodes=1), [(spent, reserved)], [], MOMENT)
    assert (denied is None) == (spent + reserved + asked <= 100)
    if denied is not None:
        never = spent + asked > 100
        assert denied.reason == (
            "exhausted" if spent >= 100 else "too_large" if never else "contended"
        )


@given(held=st.integers(0, 100_000), asked=st.integers(0, 20))
def test_a_pace_admits_after_the_wait_it_tells(held: int, asked: int) -> None:
    denied = denial(asks(tokens=asked, paces=1), [], [held], MOMENT)
    if denied is None:
        assert asked == 0 or held + asked * 1000 <= 10_000
    elif denied.retry_after is None:
        assert asked > 10
    else:
        waited = max(0, held - round(denied.retry_after * 1e9))
        assert denial(asks(tokens=asked, paces=1), [], [waited], MOMENT) is None
        assert denial(asks(tokens=asked, paces=1), [], [waited + 1], MOMENT) is not None


def test_what_is_left_of_a_pace_is_told_in_units_and_seconds() -> None:
    (state,) = pace_states([PACE], [2500])
    assert (state.remaining, state.burst, state.reset_seconds) == (7, 10, 2.5e-6)
    assert pace_states([PACE], [10**6])[0].remaining == 0


@pytest.mark.parametrize(
    ("held", "elapsed", "left"),
    [(5000, 0, 5000), (5000, 2, 3000), (5000, 10, 0), (5000, -3, 5000)],
    ids=["at-once", "after-a-while", "empty", "time-ran-back"],
)
def test_a_pace_drains_with_time(held: int, elapsed: int, left: int) -> None:
    assert drained(held, 100, 100 + elapsed) == left


@pytest.mark.parametrize(
    ("kind", "used", "charged"),
    [
        ("settle", {"usd": 3, "tokens": 0}, {"usd": 3, "tokens": 0}),
        ("settle", {"usd": 9, "calls": 1}, {"usd": 9, "tokens": 7}),
        ("release", {"usd": 3}, {"usd": 0, "tokens": 0}),
        ("expire_charge", {"usd": 3}, RESERVED),
        ("expire_release", {"usd": 3}, {"usd": 0, "tokens": 0}),
    ],
)
def test_charges(kind: SettlementKind, used: dict[str, int], charged: dict[str, int]) -> None:
    assert charge(kind, RESERVED, used) == charged


def test_only_what_is_open_or_expired_changes() -> None:
    changes = {(state, kind) for state in State for kind in ENDS_AS if not stands(state, kind)} - {
        (State.UNKNOWN, kind) for kind in ENDS_AS
    }
    assert changes == {(State.OPEN, kind) for kind in ENDS_AS} | {
        (state, kind)
        for state in (State.EXPIRED_CHARGED, State.EXPIRED_RELEASED)
        for kind in ("settle", "release")
    }


def test_standings_are_in_the_order_asked() -> None:
    (standing,) = standings_of(asks(nodes=1), [(3, 4)])
    assert (standing.key, standing.tenant, standing.spent, standing.reserved) == (
        "day",
        "acme",
        3,
        4,
    )
