from datetime import UTC, datetime
from pathlib import Path

import pytest

from llmtrace.domain.traces import Body, Outcome, Record, Trace
from llmtrace.pipeline.journal import LARGE, DirectJournal, JournalUnavailable, SpoolJournal
from llmtrace.storage.memory import MemoryTraceRepository
from llmtrace.storage.recorder import catch_up
from llmtrace.storage.registry import build
from llmtrace.storage.spool import SpoolWriter

TRACE = Trace(
    trace_id="01a1fc45-1af2-7453-9fdd-2df106a332b7",
    started_at=datetime(2026, 11, 21, tzinfo=UTC),
    tenant="t",
    agent="a",
    outcome=Outcome.OK,
)


@pytest.mark.parametrize("size", [10, LARGE + 1], ids=["small", "large"])
async def test_what_was_journaled_is_in_the_store(tmp_path: Path, size: int) -> None:
    spool = tmp_path / "spool"
    writer = SpoolWriter(spool, "w", min_free_bytes=0)
    journal = SpoolJournal(writer)
    body = Body(content=b"x" * size)
    await journal.begin(TRACE, body)
    await journal.end(Record(trace=TRACE, answer=body))
    journal.close()
    storage = build("memory")
    assert catch_up(spool, storage) >= 1
    assert storage.traces.get(TRACE.trace_id).outcome is Outcome.OK
    assert storage.traces.body(TRACE.trace_id, "request") == body
    assert storage.traces.body(TRACE.trace_id, "answer") == body


async def test_a_spool_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    journal = SpoolJournal(SpoolWriter(blocked / "spool", "w"))
    with pytest.raises(JournalUnavailable):
        await journal.begin(TRACE, None)
    with pytest.raises(JournalUnavailable):
        await journal.end(Record(trace=TRACE))


async def test_the_direct_journal_keeps_calls_in_memory() -> None:
    traces = MemoryTraceRepository()
    journal = DirectJournal(traces)
    await journal.begin(TRACE, None)
    await journal.end(Record(trace=TRACE))
    assert traces.get(TRACE.trace_id).outcome is Outcome.OK
