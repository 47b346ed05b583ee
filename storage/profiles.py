"""Which stores belong together. ``registry`` has the table of them."""

from dataclasses import dataclass
from pathlib import Path

from llmtrace.storage.base import MetadataRepository, Storage
from llmtrace.storage.memory import MemoryCache, MemoryMetadataRepository, MemoryTraceRepository
from llmtrace.storage.sqlite_file import SqliteFile, Synchronous
from llmtrace.storage.sqlite_metadata import SqliteMetadataRepository, adopt
from llmtrace.storage.sqlite_shared import SharedSqliteFile
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
    """Keep traces in one SQLite file, and tenants and the audit log in one beside it, which any
    process may write to (``shared_path``): nothing else to run."""
    if options.database_path is None:
        raise ValueError("profile 'lite' needs storage.database_path")
    file = SqliteFile(
        options.database_path,
        synchronous=options.synchronous,
        read_only=options.read_only,
    )
    try:
        metadata = _metadata(file, read_only=options.read_only)
    except BaseException:
        file.close()
        raise
    return Storage(traces=SqliteTraceRepository(file), metadata=metadata, cache=MemoryCache())


def shared_path(database_path: Path) -> Path:
    """Return where tenants, keys and budgets are: beside the traces."""
    return database_path.with_name("limits.sqlite")


def _metadata(traces: SqliteFile, *, read_only: bool) -> MetadataRepository:
    path = shared_path(traces.path)
    if read_only and not path.exists():
        return MemoryMetadataRepository()  # there is nothing to look at, and nothing is made
    shared = SharedSqliteFile(path)
    try:
        if not read_only:
            adopt(shared, traces)
    except BaseException:
        shared.close()
        raise
    return SqliteMetadataRepository(shared)


def memory(_options: StoreOptions) -> Storage:
    """Keep everything in this process, and forget it when it ends."""
    return Storage(
        traces=MemoryTraceRepository(),
        metadata=MemoryMetadataRepository(),
        cache=MemoryCache(),
    )
