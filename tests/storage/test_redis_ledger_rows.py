from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from llmtrace.storage.ledger import GRACE, LARGEST, Admission, Hold, Node, Pace, Standing, State
from llmtrace.storage.redis_ledger_rows import (
    Keys,
    admission_out,
    forget_out,
    holds_in,
    limit_out,
    moment_out,
    open_in,
    pairs,
    settled_in,
    standing_in,
)

ENDS = datetime(2026, 2, 1, tzinfo=UTC)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(prefix=NAMES, tenant=NAMES, name=NAMES)
def test_all_keys_of_a_tenant_share_a_slot(prefix: str, tenant: str, name: str) -> None:
    keys = Keys(f"p{prefix}")
    mine = [
        keys.call(tenant, name),
        keys.nodes(tenant),
        keys.paces(tenant),
        keys.open(tenant),
        keys.forget(tenant),
    ]
    assert len({key_slot(key.encode()) for key in mine}) == 1
    assert len(set(mine)) == len(mine)


@given(one=st.tuples(NAMES, NAMES), other=st.tuples(NAMES, NAMES))
def test_no_two_calls_share_a_key(one: tuple[str, str], other: tuple[str, str]) -> None:
    keys = Keys("llmtrace")
    assert (keys.call(*one) == keys.call(*other)) == (one == other)


def test_keys_of_no_tenant_are_none_of_a_tenant() -> None:
    keys = Keys("p")
    assert keys.mark("x") != keys.count("x")
    assert keys.holds.startswith("{p}:")
    assert keys.nodes("").startswith("{p:}:")


@pytest.mark.parametrize(
    ("limit", "ends", "texts"),
    [
        (None, None, ("", "", "+inf")),
        (
            LARGEST,
            ENDS,
            (str(LARGEST), "1769904000000000", str(1769904000000000 + GRACE // GRACE.resolution)),
        ),
    ],
    ids=["total-without-limit", "month"],
)
def test_a_node_is_told_in_texts(
    limit: int | None, ends: datetime | None, texts: tuple[str, str, str]
) -> None:
    node = Node(key="k", unit="usd", limit=limit, ends=ends)
    assert (limit_out(node), moment_out(ends), forget_out(node)) == texts


def test_an_admission_is_told_whole() -> None:
    asked = Admission(
        id="1",
        tenant="acme",
        amounts={"usd": LARGEST, "tokens": 1, "calls": 1},
        nodes=(Node(key='"k"', unit="usd", limit=5, ends=None),),
        paces=(
            Pace(key="tpm", unit="tokens", emission_ns=7, burst=2),
            Pace(key="rps", unit="calls", emission_ns=7, burst=2),
        ),
    )
    told = admission_out(asked).decode()
    assert f'"usd":{LARGEST}' in told
    assert '"lease":900000000' in told
    assert "rps" in told
    assert '"kept_paces":"[[\\"tpm\\",\\"tokens\\",7]]"' in told


def test_rows_are_read_back() -> None:
    assert standing_in("acme", "k", f"1:{LARGEST}:usd:5:1769904000000000") == Standing(
        key="k", tenant="acme", unit="usd", spent=1, reserved=LARGEST, limit=5, ends=ENDS
    )
    assert standing_in("acme", "k", "0:0:usd::").limit is None
    assert list(holds_in(["a", "1769904000000000::why: this"])) == [
        Hold(key="a", reason="why: this", since=ENDS)
    ]
    settled = settled_in("1", ["settled", "1", "usd", "5", "calls", "1"])
    assert (settled.state, settled.first, settled.charged) == (
        State.SETTLED,
        True,
        {"usd": 5, "calls": 1},
    )
    row = {"owner": "w", "strict": "0", "amount:usd": "5", "charged:usd": "0"}
    found = open_in("acme", "1", "1.769904e+15", row)
    assert (found.amounts, found.strict, found.lease_ends) == ({"usd": 5}, False, ENDS)
    assert pairs(["1", "2", "3", "4"]) == [(1, 2), (3, 4)]
