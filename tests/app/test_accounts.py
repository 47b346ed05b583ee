from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from llmtrace.app.accounts import RUN_KEY_LIFE, Accounts, accounts, run_key
from llmtrace.app.settings import Settings
from llmtrace.config import load
from llmtrace.domain.traces import Tenant
from llmtrace.environment.home import Home
from llmtrace.storage.base import TenantNotFound
from llmtrace.storage.keys import PREFIX, KeyNotFound, Role, presented
from llmtrace.storage.memory import MemoryMetadataRepository
from llmtrace.storage.newcomers import FIRST_SIGHT
from llmtrace.storage.sqlite_file import SqliteFile
from llmtrace.storage.sqlite_keys import SqliteKeyRepository
from llmtrace.storage.sqlite_shared import SharedSqliteFile

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
SECRET = b"of this installation"


@pytest.fixture
def metadata() -> MemoryMetadataRepository:
    return MemoryMetadataRepository()


@pytest.fixture
def found(tmp_path: Path, metadata: MemoryMetadataRepository) -> Iterator[Accounts]:
    keys = SqliteKeyRepository(SharedSqliteFile(tmp_path / "limits.sqlite"))
    yield Accounts(metadata, keys, secret=SECRET, actor="ada", now=lambda: NOON)
    keys.close()


def events(metadata: MemoryMetadataRepository) -> list[tuple[str, str, str]]:
    return [(e.event_type, e.resource, e.actor) for e in metadata.audit_events()][::-1]


def test_a_key_is_returned_once_and_known_again(found: Accounts) -> None:
    key, token = found.create_key(agent="bot", name="n", expires_at=NOON + HOUR)
    shown = presented(token, SECRET)
    assert (key.id, key.tenant, key.agent, key.role) == (shown.id, "default", "bot", Role.OPERATOR)
    assert key.is_proved_by(shown.digest, NOON)
    assert found.keys() == [key]


def test_each_change_is_on_the_record_without_any_secret(
    found: Accounts, metadata: MemoryMetadataRepository
) -> None:
    found.create_tenant("acme", name="ACME")
    key, token = found.create_key(tenant="acme", agent="bot")
    _, rotated = found.rotate_key(key.id, grace=HOUR)
    found.revoke_key(key.id)
    found.delete_tenant("acme")
    resource = f"key/{key.id}"
    assert events(metadata) == [
        ("tenant_created", "tenant/acme", "ada"),
        ("key_created", resource, "ada"),
        ("key_rotated", resource, "ada"),
        ("key_revoked", resource, "ada"),
        ("tenant_deleted", "tenant/acme", "ada"),
    ]
    kept = repr(metadata.audit_events())
    assert not [secret for secret in (token, rotated) if secret[-20:] in kept]


def test_a_key_is_made_for_tenants_that_there_are(found: Accounts) -> None:
    found.create_tenant("acme")
    with pytest.raises(TenantNotFound, match=r"did you mean 'acme'.*tenants create"):
        found.create_key(tenant="acm")
    assert found.create_key(tenant="acme")[0].tenant == "acme"


@pytest.mark.parametrize("name", ["", "a b", "a\r\nb", "é", "x" * 129, "../a"])
def test_what_is_no_name_names_nobody(found: Accounts, name: str) -> None:
    with pytest.raises(ValueError, match="expected 1 to 128"):
        found.create_tenant(name)
    if name:
        with pytest.raises(ValueError, match="no agent"):
            found.create_key(agent=name)


def test_a_key_cannot_end_before_it_begins(found: Accounts) -> None:
    with pytest.raises(ValueError, match="over"):
        found.create_key(expires_at=NOON)
    assert found.keys(ended=True) == []


def test_a_tenant_is_created_once_also_if_it_was_met(
    found: Accounts, metadata: MemoryMetadataRepository
) -> None:
    metadata.put_tenant(Tenant(id="key-1", name="key-1", created_at=NOON - HOUR, plan=FIRST_SIGHT))
    assert found.create_tenant("key-1", name="Theirs").created_at == NOON - HOUR
    with pytest.raises(ValueError, match="already"):
        found.create_tenant("key-1")


def test_a_tenant_with_a_key_that_works_stays(found: Accounts) -> None:
    found.create_tenant("acme")
    key, _ = found.create_key(tenant="acme")
    with pytest.raises(ValueError, match="has a key that works"):
        found.delete_tenant("acme")
    found.revoke_key(key.id)
    found.delete_tenant("acme")
    with pytest.raises(TenantNotFound):
        found.delete_tenant("acme")


def test_an_unknown_key_is_told_with_the_nearest(found: Accounts) -> None:
    key, token = found.create_key()
    for change in (found.revoke_key, found.rotate_key):
        with pytest.raises(KeyNotFound, match=f"did you mean {key.id!r}"):
            change(key.id[:-1])
    with pytest.raises(KeyNotFound) as unknown:
        found.revoke_key(f"{PREFIX}zzzzzzzzzzzz_{token[-32:]}")
    assert token[-32:] not in str(unknown.value)


def test_all_of_a_key_stands_for_its_id(found: Accounts) -> None:
    key, token = found.create_key()
    assert found.revoke_key(token).id == key.id


def test_an_ended_key_is_listed_when_it_is_asked_for(found: Accounts) -> None:
    key, _ = found.create_key()
    found.revoke_key(key.id)
    assert found.keys() == []
    assert [one.id for one in found.keys(ended=True)] == [key.id]


def test_tenants_of_an_older_installation_are_there(tmp_path: Path) -> None:
    settings = Settings(config=load(environ={}), home=Home(tmp_path / "home"))
    settings.prepare()
    old = SqliteFile(settings.database)
    with old.writing() as db:
        db.execute("INSERT INTO tenants VALUES ('acme', 'ACME', 0, '', '{}')")
    with accounts(settings) as opened:
        assert [tenant.id for tenant in opened.tenants()] == ["acme"]
        assert opened.create_key(tenant="acme")
    old.close()


def test_the_key_of_a_run_ends_with_it_or_in_a_day(tmp_path: Path) -> None:
    settings = Settings(config=load(environ={}), home=Home(tmp_path / "home"))
    key = run_key(settings, "brave-otter")
    with accounts(settings) as opened:
        (made,) = opened.keys()
        assert (made.run, made.agent, made.tenant) == ("brave-otter", "", "default")
        assert made.expires_at is not None
        assert timedelta() < made.expires_at - made.created_at <= RUN_KEY_LIFE
        assert made.is_proved_by(presented(key.token, settings.secret()).digest, NOON)
    key.revoke()
    with accounts(settings) as opened:
        assert opened.keys() == []
