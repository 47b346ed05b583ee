"""One worker of a benchmark of the ledgers: calls at a rate, or as fast as it is answered."""

import argparse
import json
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from llmtrace.domain.ids import new_trace_id
from llmtrace.storage.ledger import Admission, Admitted, Ledger, Node, Pace, Settlement
from llmtrace.storage.redis_ledger import RedisLedger
from llmtrace.storage.sqlite_ledger import SqliteLedger

ENDS = datetime(2100, 1, 1, tzinfo=UTC)
NODES = tuple(
    Node(key=f"budget|{scope}|2026-01", unit="usd", limit=2**50, ends=ENDS)
    for scope in ("tenant", "agent", "model")
)
PACES = (
    Pace(key="rate|calls", unit="calls", emission_ns=1_000, burst=100_000),
    Pace(key="rate|tokens", unit="tokens", emission_ns=1, burst=2**40),
)


def opened(place: str) -> Ledger:
    """Open the ledger at a URL or a path."""
    if place.startswith("redis:"):
        return RedisLedger.at(place, timeout=5.0)
    return SqliteLedger.at(Path(place), timeout=30.0)


def one_call(ledger: Ledger) -> tuple[float, float]:
    """Reserve and settle; return the milliseconds of each."""
    call = new_trace_id()
    amounts = {"usd": 40_000_000, "tokens": 4_000, "calls": 1}
    asked = Admission(id=call, tenant="acme", amounts=amounts, nodes=NODES, paces=PACES)
    used = {"usd": 7_000_000, "tokens": 730}
    began = time.perf_counter()
    answer = ledger.admit(asked)
    admitted = time.perf_counter()
    if not isinstance(answer, Admitted):
        raise TypeError(f"the ledger denies what fits: {answer.reason}")
    ledger.settle([Settlement(id=call, tenant="acme", kind="settle", amounts=used)])
    return (admitted - began) * 1000, (time.perf_counter() - admitted) * 1000


def work(place: str, rate: float, count: int) -> None:
    """Take samples in this process, at a rate or as fast as it goes (0), and print them."""
    with closing(opened(place)) as ledger:
        for _ in range(50):
            one_call(ledger)
        taken = []
        began = time.perf_counter()
        for number in range(count):
            if rate:
                time.sleep(max(0.0, began + number / rate - time.perf_counter()))
            taken.append(one_call(ledger))
        print(json.dumps([time.perf_counter() - began, taken]))


def main() -> None:
    """Take samples and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("place", help="a path, or the URL of a Redis")
    parser.add_argument("rate", type=float, help="calls a second; 0 for as many as it can")
    parser.add_argument("count", type=int)
    options = parser.parse_args()
    work(options.place, options.rate, options.count)


if __name__ == "__main__":
    main()
