from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from llmtrace.storage import keys, sqlite_keys
from llmtrace.storage.keys import KEEP_ENDED, Key, KeyNotFound, Role, TooManyKeys
from llmtrace.storage.sqlite_keys import SqliteKeyRepository
from llmtrace.storage.sqlite_shared import SharedSqliteFile
from llmtrace.testing.records import HOSTILE, NOON

HOUR = timedelta(hours=1)
NEVER_THERE = "abcdefghijkl"


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[SqliteKeyRepository]:
    opened = SqliteKeyRepository(SharedSqliteFile(tmp_path / "limits.sqlite"))
    yield opened
    opened.close()


def a_key(**changes: object) -> Key:
    key_id, token = keys.new_token()
    key = Key(
        id=key_id,
        tenant="acme",
        role=Role.OPERATOR,
        created_at=NOON,
        digest=keys.digest_of(token, b"s"),
    )
    return replace(key, **changes)  # type: ignore[arg-type]  # replace checks the names


def test_a_key_comes_back_as_it_was(repository: SqliteKeyRepository) -> None:
    plain = a_key()
    full = a_key(
        agent="bot",
        name="for the bot",
        run="brave-otter",
        role=Role.VIEWER,
        expires_at=NOON + HOUR,
        revoked_at=NOON,
        rotated_at=NOON,
        previous=b"p" * 32,
        previous_until=NOON + HOUR,
    )
    for key in (plain, full):
        repository.add(key)
        assert repository.get(key.id) == key


@pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_texts_come_back_and_find_nothing(
    repository: SqliteKeyRepository, hostile: str
) -> None:
    key = a_key(tenant=hostile, agent=hostile, name=hostile, run=hostile)
    repository.add(key)
    assert repository.keys(tenant=hostile) == [key]
    with pytest.raises(KeyNotFound):
        repository.get(hostile)


def test_an_id_is_given_once(repository: SqliteKeyRepository) -> None:
    key = a_key()
    repository.add(key)
    with pytest.raises(ValueError, match="already"):
        repository.add(replace(key, tenant="mallory"))
    assert repository.get(key.id).tenant == "acme"


def test_keys_are_listed_oldest_first_by_tenant_and_by_whether_they_work(
    repository: SqliteKeyRepository,
) -> None:
    works = a_key(created_at=NOON + HOUR)
    expired = a_key(expires_at=NOON)
    revoked = a_key(created_at=NOON - HOUR, revoked_at=NOON)
    others = a_key(created_at=NOON + 2 * HOUR, tenant="b")
    for key in (works, expired, revoked, others):
        repository.add(key)
    assert repository.keys() == [revoked, expired, works, others]
    assert repository.keys(tenant="b") == [others]
    assert repository.keys(works_at=NOON) == [works, others]
    assert repository.keys(tenant="acme", works_at=NOON) == [works]


def test_a_revoked_key_stays_revoked_since_then(repository: SqliteKeyRepository) -> None:
    key = a_key(previous=b"p" * 32, previous_until=NOON + HOUR)
    repository.add(key)
    revoked = repository.revoke(key.id, at=NOON)
    assert (revoked.revoked_at, revoked.previous, revoked.previous_until) == (NOON, None, None)
    assert repository.revoke(key.id, at=NOON + HOUR) == revoked == repository.get(key.id)
    with pytest.raises(KeyNotFound, match=NEVER_THERE):
        repository.revoke(NEVER_THERE, at=NOON)


@pytest.mark.parametrize("grace", [None, NOON + HOUR], ids=["no-grace", "grace"])
def test_rotation_keeps_the_old_secret_for_the_grace_alone(
    repository: SqliteKeyRepository, grace: object
) -> None:
    key = a_key()
    repository.add(key)
    new = keys.digest_of("new", b"s")
    until = NOON + HOUR if grace else None
    rotated = repository.rotate(key.id, digest=new, at=NOON, previous_until=until)
    assert rotated == repository.get(key.id)
    assert (rotated.digest, rotated.rotated_at) == (new, NOON)
    assert (rotated.previous, rotated.previous_until) == (key.digest if grace else None, until)


@pytest.mark.parametrize("ended", [{"revoked_at": NOON}, {"expires_at": NOON}], ids=str)
def test_what_has_ended_cannot_be_rotated(
    repository: SqliteKeyRepository, ended: dict[str, object]
) -> None:
    key = a_key(**ended)
    repository.add(key)
    with pytest.raises(ValueError, match="revoked or expired"):
        repository.rotate(key.id, digest=b"d" * 32, at=NOON, previous_until=None)
    assert repository.get(key.id) == key
    with pytest.raises(KeyNotFound):
        repository.rotate(NEVER_THERE, digest=b"d" * 32, at=NOON, previous_until=None)


def test_what_ended_long_ago_is_forgotten_and_the_rest_bounded(
    repository: SqliteKeyRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_keys, "MAX_KEYS", 3)
    old = NOON - KEEP_ENDED - HOUR
    gone = [a_key(revoked_at=old), a_key(expires_at=old)]
    kept = [a_key(), a_key(revoked_at=NOON)]
    for key in (*gone, *kept):
        repository.add(key)
    repository.add(a_key())
    left = repository.keys()
    assert {key.id for key in left} >= {key.id for key in kept}
    with pytest.raises(TooManyKeys, match="revoke"):
        repository.add(a_key())
    assert len(repository.keys()) == 3


def test_another_process_sees_what_one_wrote(
    repository: SqliteKeyRepository, tmp_path: Path
) -> None:
    other = SqliteKeyRepository(SharedSqliteFile(tmp_path / "limits.sqlite"))
    key = a_key()
    repository.add(key)
    assert other.get(key.id) == key
    other.revoke(key.id, at=NOON)
    assert not repository.get(key.id).works(NOON)
    other.close()


def test_a_closed_store_is_not_healthy(tmp_path: Path) -> None:
    opened = SqliteKeyRepository(SharedSqliteFile(tmp_path / "limits.sqlite"))
    assert opened.healthy()
    opened.close()
    assert not opened.healthy()
