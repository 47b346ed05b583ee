from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from llmtrace.storage.base import StorageUnavailable
from llmtrace.storage.ledger import (
    LARGEST,
    MAX_NODES,
    Admission,
    BadAmount,
    LedgerUnavailable,
    Node,
    Pace,
    Settlement,
)

NODE = Node(key="month", unit="usd", limit=10, ends=datetime(2026, 2, 1, tzinfo=UTC))
PACE = Pace(key="rps", unit="calls", emission_ns=1_000_000, burst=5)
ASKED = Admission(id="1", tenant="acme", amounts={"usd": 1, "calls": 1})


def test_a_store_that_is_away_is_unavailable_like_any_other() -> None:
    assert issubclass(LedgerUnavailable, StorageUnavailable)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"limit": -1}, id="negative-limit"),
        pytest.param({"limit": LARGEST + 1}, id="limit-too-large"),
        pytest.param({"limit": float("nan")}, id="limit-not-a-number"),
        pytest.param({"unit": "eur"}, id="unknown-unit"),
        pytest.param({"key": ""}, id="no-key"),
        pytest.param({"ends": datetime(2026, 1, 1)}, id="end-without-zone"),
    ],
)
def test_impossible_nodes_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be|expected|no time zone"):
        replace(NODE, **change)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"unit": "usd"}, id="money-has-no-pace"),
        pytest.param({"burst": 0}, id="nothing-at-once"),
        pytest.param({"emission_ns": 0}, id="no-interval"),
        pytest.param({"emission_ns": 2**40, "burst": 2**14}, id="longer-than-counted"),
    ],
)
def test_impossible_paces_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"expected|must be"):
        replace(PACE, **change)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"amounts": {"usd": -1}}, id="negative"),
        pytest.param({"amounts": {"usd": True}}, id="truth-value"),
        pytest.param({"amounts": {"usd": 2**63}}, id="huge"),
    ],
)
def test_wrong_amounts_are_refused_before_anything_is_asked(change: dict[str, Any]) -> None:
    with pytest.raises(BadAmount):
        replace(ASKED, **change)
    with pytest.raises(BadAmount):
        Settlement(id="1", tenant="acme", kind="settle", **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"nodes": (NODE,), "amounts": {}}, "no amount of usd", id="unit-missing"),
        pytest.param({"paces": (PACE, PACE)}, "same key", id="pace-twice"),
        pytest.param({"nodes": (NODE, replace(NODE, limit=3))}, "same key", id="node-twice"),
        pytest.param(
            {"nodes": tuple(replace(NODE, key=str(n)) for n in range(MAX_NODES + 1))},
            f"at most {MAX_NODES}",
            id="too-many",
        ),
    ],
)
def test_what_is_asked_must_fit_together(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(ASKED, **change)


def test_there_is_no_other_way_to_end_a_call() -> None:
    with pytest.raises(ValueError, match="no such settlement as 'refund'"):
        Settlement(id="1", tenant="acme", kind="refund")  # type: ignore[arg-type]  # what is refused
