"""A new CONNECT and TLS handshake for each call, and what the first sight of a host costs.

The same as the part of ``scripts/bench gateway``, longer and with several connections.
"""

import argparse
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import calls
import report
from calls import Effort, Field
from report import Goal, Section
from sampling import alternate, ratio
from targets import UNLOOKED, direct, ours, provider, stock

TITLE = "Handshakes"
WHOLE = Effort(rounds=5, seconds=3.0, connections=(1, 16), calls=0, kills=0)
QUICK = Effort(rounds=1, seconds=1.0, connections=(16,), calls=0, kills=0)


def measure(effort: Effort) -> list[Section]:
    """Measure with each number of connections."""
    rows, goals = [], []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="llmtrace-bench-")))
        at = stack.enter_context(provider(folder))
        one = stack.enter_context(ours(at, folder / "one", 1))
        field = Field(
            direct=direct(at),
            stock=stack.enter_context(stock(at, folder)),
            one=one,
            bare=stack.enter_context(ours(at, folder / "bare", 1, UNLOOKED)),
            two=one,
            others=at.pids,
            effort=effort,
        )
        for connections in effort.connections:
            take = field.taker(connections=connections, fresh=True)
            taken = alternate(field.pinned("tls"), take, effort.rounds)
            rows += calls.rate_rows(taken, str(connections), calls.STOCK)
            for which in calls.OURS:
                got = ratio(taken[which], taken[calls.STOCK])
                name = f"{which}, {connections} connections: >= 1.5 x mitmdump's calls/s"
                goals.append(Goal(name, f"{got:.2f} x", got >= 1.5))
    text = "\n" + report.table(calls.HEAD, rows)
    return [Section("A new CONNECT and TLS handshake for each call", calls.PINNED, text, goals)]


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(prog="scripts/bench handshake", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few seconds; writes nothing")
    quick = parser.parse_args().quick
    began = time.monotonic()
    sections = measure(QUICK if quick else WHOLE)
    report.publish(TITLE, sections, began, keep=not quick)


if __name__ == "__main__":
    main()
