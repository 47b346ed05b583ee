"""The journal and the store by themselves: appending, shipping, conversations, lists, search."""

import argparse
import json
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import report
from load import history, payload
from report import Goal, Section
from sampling import quantile

from llmtrace.domain.ids import new_trace_id
from llmtrace.domain.traces import Body, Outcome, Record, Texts, Trace
from llmtrace.domain.usage import Usage, UsageSource
from llmtrace.storage.base import Storage, TraceQuery
from llmtrace.storage.recorder import catch_up
from llmtrace.storage.registry import build
from llmtrace.storage.spool import SpoolWriter

TITLE = "Storage"
JSON = "application/json"
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
TURNS = 100


def trace(number: int, outcome: Outcome = Outcome.OK) -> Trace:
    """Return a trace as a call leaves it."""
    return Trace(
        trace_id=new_trace_id(),
        started_at=BEGAN + timedelta(seconds=number),
        tenant=f"key-{number % 7}",
        agent=f"agent-{number % 11}",
        provider="openai",
        dialect="openai.chat",
        operation="chat",
        mode="forward",
        method="POST",
        host="api.openai.com",
        path="/v1/chat/completions",
        model="gpt-4o-mini",
        outcome=outcome,
        status=200,
        usage=Usage(input_tokens=460, output_tokens=270),
        usage_source=UsageSource.PROVIDER,
        conversation=f"conversation-{number // 10}",
        duration_ms=12.5,
    )


def record(number: int, *, size: int = 2_048) -> Record:
    """Return the END record of a call with its bodies and texts."""
    body = payload(size, stream=False).replace(b"The quick", b"Call %d quick" % number, 1)
    said = f"All is well with call {number}. " * 40
    return Record(
        trace=trace(number),
        request=Body(content=body, media_type=JSON),
        answer=Body(content=json.dumps({"content": said}).encode(), media_type=JSON),
        texts=Texts(prompt=body.decode()[:size], answer=said),
    )


@contextmanager
def opened(path: Path) -> Iterator[Storage]:
    """Open the stores of the profile ``lite`` for the block."""
    storage = build("lite", database_path=path)
    try:
        yield storage
    finally:
        for part in (storage.traces, storage.metadata, storage.cache):
            part.close()


def timed(calls: Sequence[Callable[[], object]]) -> list[float]:
    """Return how long each call took, in microseconds."""
    taken = []
    for call in calls:
        began = time.perf_counter()
        call()
        taken.append((time.perf_counter() - began) * 1e6)
    return taken


def journal(folder: Path, count: int) -> Section:
    """Append calls to the spool, then ship them to SQLite."""
    spool = folder / "spool"
    writer = SpoolWriter(spool, "worker-0")
    records = [record(number) for number in range(count)]
    starts = timed([lambda r=r: writer.start_and_sent(r.trace, r.request) for r in records])
    ends = timed([lambda r=r: writer.end(r) for r in records])
    writer.close()
    with opened(folder / "journal.db") as storage:
        began = time.perf_counter()
        shipped = catch_up(spool, storage)
        per_second = count / (time.perf_counter() - began)
        kept = storage.traces.totals(TraceQuery()).calls
    rows = [
        ["append START and SENT, us", *(f"{quantile(starts, q):.0f}" for q in (0.5, 0.99))],
        ["append END, us", *(f"{quantile(ends, q):.0f}" for q in (0.5, 0.99))],
        ["calls shipped to SQLite a second", f"{per_second:,.0f}", ""],
    ]
    goals = [Goal("every call that was appended is in the store", f"{kept:,}", kept == count)]
    note = f"{count:,} calls with 2 KB prompts; {shipped:,} records."
    table = "\n" + report.table(["", "median", "p99"], rows)
    return Section("Journal", note, table, goals)


def conversation(folder: Path) -> Section:
    """Keep a conversation whose history is sent again on every turn."""
    path = folder / "conversation.db"
    messages = history(TURNS * 2_000)[: 1 + 2 * TURNS]
    sent, last = 0, 0
    with opened(path) as storage:
        for turn in range(1, TURNS + 1):
            body = json.dumps({"model": "m", "messages": messages[: 1 + 2 * turn]}).encode()
            sent, last = sent + len(body), len(body)
            kept = Record(trace=trace(turn), request=Body(content=body, media_type=JSON))
            storage.traces.put([kept])
    with closing(sqlite3.connect(path)) as database:
        database.execute("pragma wal_checkpoint(truncate)")
        database.execute("vacuum")
    size = path.stat().st_size
    rows = [[f"{value / 1000:,.0f}" for value in (sent, last, size)]]
    head = ["sent over all turns, KB", "last turn, KB", "database, KB"]
    goal = Goal(
        f"{TURNS} turns take no more than twice the last", f"{size / last:.2f} x", size <= 2 * last
    )
    return Section(
        "A conversation that grows", f"{TURNS} turns.", "\n" + report.table(head, rows), [goal]
    )


def lists(folder: Path, count: int) -> Section:
    """List, sum and search a store of many calls."""
    with opened(folder / "lists.db") as storage:
        for begin in range(0, count, 500):
            storage.traces.put([record(n) for n in range(begin, min(begin + 500, count))])
        rows = [
            [name, f"{quantile(taken, 0.5) / 1000:.2f}", f"{quantile(taken, 0.99) / 1000:.2f}"]
            for name, query in QUERIES.items()
            for taken in [timed([lambda q=query: storage.traces.query(q)] * 30)]
        ]
        totals = timed([lambda: storage.traces.totals(TraceQuery())] * 10)
    rows.append(["sums over all", f"{quantile(totals, 0.5) / 1000:.2f}", ""])
    table = "\n" + report.table(["milliseconds", "median", "p99"], rows)
    return Section("Lists and search", f"{count:,} calls in the store.", table)


QUERIES = {
    "newest 50": TraceQuery(),
    "newest 50 of an agent": TraceQuery(agent="agent-3"),
    "newest 50 with two words": TraceQuery(text="well quick"),
    "one call by its number": TraceQuery(text="call 77"),
}


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(prog="scripts/bench storage", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few seconds; writes nothing")
    quick = parser.parse_args().quick
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="llmtrace-bench-") as name:
        folder = Path(name)
        sections = [
            journal(folder, 500 if quick else 5_000),
            conversation(folder),
            lists(folder, 1_000 if quick else 20_000),
        ]
    report.publish(TITLE, sections, began, keep=not quick)


if __name__ == "__main__":
    main()
