"""Opens the stores that the configuration names."""

from llmtrace.app.settings import Settings
from llmtrace.storage.base import Storage
from llmtrace.storage.registry import build


def open_storage(settings: Settings, *, read_only: bool = False) -> Storage:
    """Open the stores of the configured profile. Raises: StorageError."""
    return build(
        settings.config.storage.profile, database_path=settings.database, read_only=read_only
    )
