"""The table of storage profiles, and what is done with a storage as a whole."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from llmtrace.storage.base import Storage
from llmtrace.storage.profiles import StoreOptions, lite, memory
from llmtrace.storage.sqlite_file import Synchronous

PROFILES: Final[Mapping[str, Callable[[StoreOptions], Storage]]] = {
    "lite": lite,
    "memory": memory,
}


def build(
    profile: str,
    *,
    database_path: Path | None = None,
    synchronous: Synchronous = "FULL",
    read_only: bool = False,
) -> Storage:
    """Open the stores of a profile.

    Args:
        profile: A key of ``PROFILES``.
        database_path: The file of ``lite``; it is made if it is not there.
        synchronous: NORMAL is faster, and a power cut may cost what was kept last.
        read_only: Look only; what is looked at must be there already.

    Raises:
        ValueError: There is no such profile, or it needs something that was not given.
        StorageError: The stores cannot be opened; the message says why and what to do.
    """
    if profile not in PROFILES:
        raise ValueError(f"storage.profile is {profile!r}, expected one of {', '.join(PROFILES)}")
    return PROFILES[profile](
        StoreOptions(database_path=database_path, synchronous=synchronous, read_only=read_only)
    )


def health(storage: Storage) -> Mapping[str, bool]:
    """Say of each store whether it answers now."""
    return {
        "traces": storage.traces.healthy(),
        "metadata": storage.metadata.healthy(),
        "cache": storage.cache.healthy(),
    }


def close(storage: Storage) -> None:
    """Close all three."""
    storage.traces.close()
    storage.metadata.close()
    storage.cache.close()
