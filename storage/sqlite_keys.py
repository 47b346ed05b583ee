"""LLMTrace keys in the shared SQLite file."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from llmtrace.storage.base import StorageError
from llmtrace.storage.keys import KEEP_ENDED, MAX_KEYS, Key, KeyNotFound, Role, TooManyKeys
from llmtrace.storage.sqlite_shared import SharedSqliteFile
from llmtrace.storage.sqlite_values import SqlText, text_in, text_out, time_in, time_out

_COLUMNS: Final = (
    "id, tenant, agent, role, name, run, created_at, expires_at, revoked_at, rotated_at, digest, "
    "previous, previous_until"
)
_KEYS: Final = f"SELECT {_COLUMNS} FROM api_keys "  # noqa: S608  # our own words
_ADD: Final = f"INSERT INTO api_keys ({_COLUMNS}) VALUES ({'?' + 12 * ', ?'})"  # noqa: S608
_LIST: Final = (
    _KEYS
    + """
WHERE (:tenant IS NULL OR tenant = :tenant)
    AND (:at IS NULL OR (revoked_at IS NULL AND (expires_at IS NULL OR expires_at > :at)))
ORDER BY created_at, id LIMIT :limit
"""
)
_FORGET: Final = "DELETE FROM api_keys WHERE revoked_at < :before OR expires_at < :before"
_ROTATE: Final = """
UPDATE api_keys SET previous = iif(:until IS NULL, NULL, digest), previous_until = :until,
    digest = :digest, rotated_at = :at
WHERE id = :id AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > :at)
"""


class SqliteKeyRepository:
    """Keeps keys; see ``KeyRepository`` for what each method promises."""

    def __init__(self, file: SharedSqliteFile) -> None:
        self._file = file

    def add(self, key: Key) -> None:
        """Keep a new key. Raises: ValueError, TooManyKeys."""
        with self._file.writing() as db:
            db.execute(_FORGET, {"before": time_in(key.created_at - KEEP_ENDED)})
            if db.execute("SELECT count(*) FROM api_keys").fetchone()[0] >= MAX_KEYS:
                raise TooManyKeys(
                    f"there are {MAX_KEYS} keys; revoke those that nobody needs: they are "
                    f"forgotten after {KEEP_ENDED.days} days"
                )
            if _found(db, key.id) is not None:
                raise ValueError(f"there is a key {key.id!r} already")
            db.execute(_ADD, _values(key))

    def get(self, key_id: str) -> Key:
        """Return one key. Raises: KeyNotFound."""
        with self._file.reading() as db:
            found = _found(db, key_id)
        return _required(found, key_id)  # what is raised inside costs the connection

    def keys(self, *, tenant: str | None = None, works_at: datetime | None = None) -> Sequence[Key]:
        """Return the keys, oldest first: of one tenant, and those that work at a time."""
        values = {
            "tenant": None if tenant is None else text_in(tenant),
            "at": _time_in(works_at),
            "limit": MAX_KEYS,
        }
        with self._file.reading() as db:
            return [_key(row) for row in db.execute(_LIST, values)]

    def revoke(self, key_id: str, *, at: datetime) -> Key:
        """Make a key useless, for good. Raises: KeyNotFound."""
        with self._file.writing() as db:
            db.execute(
                "UPDATE api_keys SET revoked_at = ?, previous = NULL, previous_until = NULL "
                "WHERE id = ? AND revoked_at IS NULL",
                (time_in(at), text_in(key_id)),
            )
            found = _found(db, key_id)
        return _required(found, key_id)

    def rotate(
        self, key_id: str, *, digest: bytes, at: datetime, previous_until: datetime | None
    ) -> Key:
        """Give a key another secret. Raises: KeyNotFound, ValueError."""
        values = {
            "id": text_in(key_id),
            "digest": digest,
            "at": time_in(at),
            "until": _time_in(previous_until),
        }
        with self._file.writing() as db:
            changed = db.execute(_ROTATE, values).rowcount
            found = _found(db, key_id)
        key = _required(found, key_id)
        if not changed:
            raise ValueError(f"key {key_id!r} is revoked or expired; make a new one")
        return key

    def healthy(self) -> bool:
        """Whether the file can be read now."""
        try:
            with self._file.reading() as db:
                db.execute("SELECT 1 FROM api_keys LIMIT 1").fetchone()
        except StorageError:
            return False
        return True

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def _found(db: sqlite3.Connection, key_id: str) -> Key | None:
    row = db.execute(_KEYS + "WHERE id = ?", (text_in(key_id),)).fetchone()
    return None if row is None else _key(row)


def _required(key: Key | None, key_id: str) -> Key:
    if key is None:
        raise KeyNotFound(f"there is no key {key_id!r}")
    return key


def _time_in(moment: datetime | None) -> int | None:
    return None if moment is None else time_in(moment)


def _time_out(value: int | None) -> datetime | None:
    return None if value is None else time_out(value)


def _values(key: Key) -> tuple[SqlText | int | None, ...]:
    texts = (key.id, key.tenant, key.agent, key.role, key.name, key.run)
    times = (key.expires_at, key.revoked_at, key.rotated_at)
    return (
        *map(text_in, texts),
        time_in(key.created_at),
        *map(_time_in, times),
        key.digest,
        key.previous,
        _time_in(key.previous_until),
    )


def _key(row: tuple[Any, ...]) -> Key:
    *texts, created_at, expires_at, revoked_at, rotated_at, digest, previous, until = row
    key_id, tenant, agent, role, name, run = map(text_out, texts)
    return Key(
        id=key_id,
        tenant=tenant,
        agent=agent,
        role=Role(role),
        name=name,
        run=run,
        created_at=time_out(created_at),
        expires_at=_time_out(expires_at),
        revoked_at=_time_out(revoked_at),
        rotated_at=_time_out(rotated_at),
        digest=digest,
        previous=previous,
        previous_until=_time_out(until),
    )
