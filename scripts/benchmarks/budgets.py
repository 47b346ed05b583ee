"""The ledgers by themselves: a reservation and its settlement, at a rate and at full speed."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import report
from report import Goal, Section
from sampling import quantile

from llmtrace.testing import redis

TITLE = "Budgets"
RATE = 200
MOST_MS = 2.0
PRIORITY = (
    ""
    if os.sched_getscheduler(0) == os.SCHED_OTHER
    else " Measured at real-time priority, beside other work on the same cores."
)
WORKER = Path(__file__).with_name("ledgers.py")


@dataclass(frozen=True)
class Taken:
    """How long calls took, in milliseconds."""

    reserve: list[float]
    settle: list[float]
    seconds: float

    @property
    def both(self) -> list[float]:
        """Reservation and settlement of each call together."""
        return [sum(pair) for pair in zip(self.reserve, self.settle, strict=True)]


def measure(place: str, *, processes: int, rate: float, count: int) -> Taken:
    """Let processes share the rate and the count; return what all of them took."""
    share = [str(rate / processes), str(count // processes)]
    workers = [
        subprocess.Popen(
            [sys.executable, str(WORKER), place, *share], stdout=subprocess.PIPE, text=True
        )
        for _ in range(processes)
    ]
    outputs = [json.loads(worker.communicate(timeout=300)[0]) for worker in workers]
    pairs = [pair for _, taken in outputs for pair in taken]
    reserve, settle = ([pair[side] for pair in pairs] for side in (0, 1))
    return Taken(reserve, settle, max(seconds for seconds, _ in outputs))


@contextmanager
def places() -> Iterator[Mapping[str, str]]:
    """Start what there is to measure."""
    with tempfile.TemporaryDirectory(prefix="llmtrace-bench-") as folder:
        found = {"SQLite": str(Path(folder) / "limits.sqlite")}
        if not redis.installed():
            print(f"Redis is left out: {redis.MISSING}")
            yield found
            return
        with redis.RedisServer({"appendonly": "yes", "appendfsync": "everysec"}) as server:
            yield found | {"Redis": server.url}


def at_a_rate(found: Mapping[str, str], seconds: int) -> Section:
    """Measure a gateway of one and of four workers at its rate."""
    rows, goals = [], []
    for name, place in found.items():
        for processes in (1, 4):
            taken = measure(place, processes=processes, rate=RATE, count=RATE * seconds)
            p99 = quantile(taken.both, 0.99)
            rows.append([name, str(processes), *figures(taken.reserve, taken.settle, taken.both)])
            what = f"{name}, {processes} worker{'s' if processes > 1 else ''}"
            goal = f"{what}: reserve and settle, p99 at most {MOST_MS:g} ms"
            goals.append(Goal(goal, f"{p99:.2f} ms", p99 <= MOST_MS))
    head = ["ledger", "workers", "reserve p50", "p99", "settle p50", "p99", "both p50", "p99"]
    note = (
        f"{RATE} calls a second in all, for {seconds} s; three budgets and two rates for each. "
        "Milliseconds. Redis over loopback with an append-only file, written every second."
        f"{PRIORITY}"
    )
    return Section("At a rate", note, "\n" + report.table(head, rows), goals)


def at_full_speed(found: Mapping[str, str], count: int) -> Section:
    """Measure how many calls a second the ledgers carry."""
    rows = []
    for name, place in found.items():
        for processes in (1, 4):
            taken = measure(place, processes=processes, rate=0, count=count)
            speed = f"{len(taken.both) / taken.seconds:,.0f}"
            rows.append([name, str(processes), speed, *figures(taken.both)])
    head = ["ledger", "workers", "calls a second", "both p50", "p99"]
    note = "Each worker calls as fast as it is answered; reservation and settlement, milliseconds."
    return Section("At full speed", note, "\n" + report.table(head, rows))


def figures(*samples: Sequence[float]) -> list[str]:
    """Return median and 99th percentile of each."""
    return [f"{quantile(sample, share):.2f}" for sample in samples for share in (0.5, 0.99)]


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(prog="scripts/bench budgets", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few seconds; writes nothing")
    options = parser.parse_args()
    began = time.monotonic()
    with places() as found:
        sections = [
            at_a_rate(found, 3 if options.quick else 20),
            at_full_speed(found, 1_000 if options.quick else 8_000),
        ]
    report.publish(TITLE, sections, began, keep=not options.quick)


if __name__ == "__main__":
    main()
