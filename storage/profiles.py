"""Which stores belong together. ``registry`` has the table of them."""

from dataclasses import dataclass
from pathlib import Path

from llmtrace.storage.base import Storage
from llmtrace.storage.memory import MemoryCache, MemoryMetadataRepository, MemoryTraceRepository
from llmtrace.storage.sqlite_file import SqliteFile, Synchronous
from llmtrace.storage.sqlite_metadata import SqliteMetadataRepository
from llmtrace.storage.sqlite_traces import SqliteTraceRepository


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """What a profile may need to know; each takes what concerns it.

    ``synchronous`` FULL waits for the disk once per batch. The spool forgets a record as soon as
    the store has it, so with NORMAL a power cut can cost what was kept since the last checkpoint.
    """

    database_path: Path | None = None
    synchronous: Synchronous = "FULL"
    read_only: bool = False


def lite(options: StoreOptions) -> Storage:
    """Keep traces and metadata in one SQLite file: nothing else to run."""
    if options.database_path is None:
        raise ValueError("profile 'lite' needs storage.database_path")
    file = SqliteFile(
        options.database_path,
        synchronous=options.synchronous,
        read_only=options.read_only,
    )
    return Storage(
        traces=SqliteTraceRepository(file),
        metadata=SqliteMetadataRepository(file.share()),
        cache=MemoryCache(),
    )


def memory(_options: StoreOptions) -> Storage:
    """Keep everything in this process, and forget it when it ends."""
    return Storage(
        traces=MemoryTraceRepository(),
        metadata=MemoryMetadataRepository(),
        cache=MemoryCache(),
    )
