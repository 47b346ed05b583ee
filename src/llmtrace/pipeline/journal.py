"""Where a call's records go, so that they outlive this process."""

import asyncio
import logging
from pathlib import Path
from typing import Final, Protocol

from llmtrace.domain.traces import Body, Record, Trace
from llmtrace.storage.base import TraceRepository
from llmtrace.storage.spool import SpoolUnavailable, SpoolWriter

logger = logging.getLogger(__name__)

LARGE: Final = 256 * 1024
"""Bodies from this size on take milliseconds to compress: they are written from a thread."""


class JournalUnavailable(OSError):
    """The journal cannot take a record now."""


class Journal(Protocol):
    """Takes the records of one worker's calls."""

    @property
    def directory(self) -> Path | None:
        """Where they lie until they are in the store, None where they lie nowhere."""
        ...

    async def begin(self, trace: Trace, body: Body | None) -> None:
        """Append the START of a call that is about to be sent. Raises: JournalUnavailable."""
        ...

    async def end(self, record: Record) -> None:
        """Append the END of a call. Raises: JournalUnavailable."""
        ...

    def close(self) -> None:
        """Let go of what it holds. It is of no more use then."""
        ...


class SpoolJournal:
    """Journal of profiles that outlive the process: the spool."""

    def __init__(self, writer: SpoolWriter) -> None:
        self._writer = writer

    @property
    def directory(self) -> Path | None:
        """The directory of this worker's life, made if need be; it is there as long as that is."""
        try:
            self._writer.open()
        except SpoolUnavailable as error:
            logger.error("the journal cannot be made: %s", error)
            return None
        return self._writer.directory

    async def begin(self, trace: Trace, body: Body | None) -> None:
        """Append START and SENT in one write."""
        try:
            if body is not None and len(body.content) >= LARGE:
                written = await asyncio.to_thread(self._writer.start_and_sent, trace, body)
            else:
                written = self._writer.start_and_sent(trace, body)
        except SpoolUnavailable as error:
            raise JournalUnavailable(str(error)) from error
        if not written:
            raise JournalUnavailable("the spool is full, and spool.on_full drops new calls")

    async def end(self, record: Record) -> None:
        """Append END, and wait for the disk if ``spool.durability`` is strict."""
        try:
            if _size(record) >= LARGE:
                await asyncio.to_thread(self._writer.end, record)
            else:
                await self._writer.end_durable(record)
        except SpoolUnavailable as error:
            raise JournalUnavailable(str(error)) from error

    def close(self) -> None:
        """Sync, and let the recorder know that nothing more comes."""
        self._writer.close()


class DirectJournal:
    """Journal of the profile ``memory``: straight into a store that forgets."""

    directory = None

    def __init__(self, traces: TraceRepository) -> None:
        self._traces = traces

    async def begin(self, trace: Trace, body: Body | None) -> None:
        """Keep the call as pending."""
        self._traces.put([Record(trace=trace, request=body)])

    async def end(self, record: Record) -> None:
        """Keep the call."""
        self._traces.put([record])

    def close(self) -> None:
        """Forget everything."""
        self._traces.close()


def _size(record: Record) -> int:
    return sum(len(body.content) for body in (record.request, record.answer) if body)
