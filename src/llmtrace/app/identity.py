"""Wires who may call: keys, the identifier, and the tenants that are met."""

from collections.abc import Callable

from llmtrace.app.settings import Settings
from llmtrace.pipeline.counters import Counters
from llmtrace.pipeline.identity import Identifier
from llmtrace.pipeline.keyring import KeyRing
from llmtrace.storage.keys import Key, KeyRepository
from llmtrace.storage.newcomers import Newcomers
from llmtrace.storage.sqlite_keys import SqliteKeyRepository
from llmtrace.storage.sqlite_metadata import SqliteMetadataRepository
from llmtrace.storage.sqlite_shared import SharedSqliteFile


def open_keys(settings: Settings) -> KeyRepository:
    """Open the installation's keys. Raises: StorageError."""
    return SqliteKeyRepository(SharedSqliteFile(settings.shared_database))


class Identity:
    """Who may call, for one worker; as an addon it lets go of the stores at the end.

    Keys are opened when the first one is presented: most installations have none. Where
    ``auth.enabled`` asks for one they are opened at once.

    Raises:
        StorageError: Keys are asked for and cannot be read.
    """

    name = "llmtrace_identity"

    def __init__(self, settings: Settings, counters: Counters) -> None:
        config = settings.config
        self._settings = settings
        self._keys = open_keys(settings) if config.auth.enabled else None
        self._newcomers = None if config.storage.profile == "memory" else Newcomers(self._metadata)
        secret = settings.secret()
        self.ring = KeyRing(
            self._key,
            secret=secret,
            counters=counters,
            required=config.auth.enabled,
            agreed=config.auth.identity_conflict == "refuse",
        )
        self.identifier = Identifier(
            secret=secret,
            trusted=config.identity.trusted_proxies,
            keys=self.ring,
            **self._told(),
        )

    def _told(self) -> dict[str, Callable[..., None]]:
        """Return who is told of callers: nobody, where nothing is kept."""
        people = self._newcomers
        return {"met": people.meet, "conflicted": people.conflict} if people else {}

    def done(self) -> None:
        """Let go of the stores."""
        if self._newcomers:
            self._newcomers.close()
        if self._keys:
            self._keys.close()

    def _key(self, key_id: str) -> Key:
        if self._keys is None:
            self._keys = open_keys(self._settings)
        return self._keys.get(key_id)

    def _metadata(self) -> SqliteMetadataRepository:
        return SqliteMetadataRepository(SharedSqliteFile(self._settings.shared_database))
