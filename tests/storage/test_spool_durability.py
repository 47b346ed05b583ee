import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from llmtrace.storage.spool import SpoolUnavailable, SpoolWriter
from llmtrace.storage.spool_files import segments
from llmtrace.storage.spool_format import Decoder, Entry
from llmtrace.testing.faults import FaultyIO
from llmtrace.testing.records import a_record


def opened(root: Path, io: FaultyIO, **options: Any) -> SpoolWriter:
    settings: dict[str, Any] = {"min_free_bytes": 0, "fsync_interval_ms": 60_000}
    return SpoolWriter(root, "w1", io=io, **(settings | options))


def written(writer: SpoolWriter) -> Sequence[Entry]:
    (segment,) = segments(writer.directory)
    events = Decoder(segment.seed).receive((writer.directory / segment.name).read_bytes())
    return [event for event in events if isinstance(event, Entry)]


class Gate(FaultyIO):
    """Holds syncs back until it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()

    def sync(self, fd: int) -> None:
        assert self.gate.wait(10)
        super().sync(fd)


async def test_strict_waits_for_the_disk_and_the_loop_goes_on(tmp_path: Path) -> None:
    io = Gate()
    io.gate.set()
    writer = opened(tmp_path, io, durability="strict")
    writer.open()
    io.gate.clear()
    waiting = [asyncio.create_task(writer.end_durable(a_record(n))) for n in range(20)]
    await asyncio.sleep(0.01)
    assert len(written(writer)) == 20
    assert not any(task.done() for task in waiting)
    io.gate.set()
    assert await asyncio.gather(*waiting) == [True] * 20
    writer.close()


def test_strict_end_returns_after_the_sync(tmp_path: Path) -> None:
    synced: list[int] = []

    class Watching(FaultyIO):
        def sync(self, fd: int) -> None:
            super().sync(fd)
            synced.append(fd)

    writer = opened(tmp_path, Watching(), durability="strict")
    writer.open()
    before = len(synced)
    assert writer.end(a_record())
    assert len(synced) > before
    writer.close()


async def test_strict_raises_if_the_disk_does_not_confirm(tmp_path: Path) -> None:
    io = FaultyIO()
    writer = opened(tmp_path, io, durability="strict", on_full="drop_new")
    writer.open()
    io.broken = frozenset({"sync"})
    with pytest.raises(SpoolUnavailable):
        await writer.end_durable(a_record(1))
    with pytest.raises(SpoolUnavailable):
        writer.end(a_record(2))
    assert writer.counters.sync_errors > 0
    io.broken = frozenset()
    assert await writer.end_durable(a_record(3))
    writer.close()


async def test_process_durability_waits_for_no_disk(tmp_path: Path) -> None:
    io = Gate()
    io.gate.set()
    writer = opened(tmp_path, io, fsync_interval_ms=1)
    writer.open()
    io.gate.clear()
    assert await writer.end_durable(a_record())
    assert writer.end(a_record(1))
    assert len(written(writer)) == 2
    io.gate.set()
    writer.close()
