from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from llmtrace.app.identity import Identity, open_keys
from llmtrace.app.settings import Settings
from llmtrace.config import load
from llmtrace.environment.home import Home
from llmtrace.pipeline.counters import Counters
from llmtrace.pipeline.credentials import Credentials
from llmtrace.pipeline.identity import Caller
from llmtrace.pipeline.keyring import KeyMissing, KeysUnavailable, KeyUnknown
from llmtrace.storage import keys
from llmtrace.storage.keys import Key, Role
from llmtrace.storage.sqlite_metadata import SqliteMetadataRepository
from llmtrace.storage.sqlite_shared import SharedSqliteFile


def settings_of(folder: Path, **overrides: object) -> Settings:
    settings = Settings(config=load(environ={}, overrides=overrides), home=Home(folder / "home"))
    settings.prepare()
    return settings


def caller(identity: Identity, token: str = "") -> Caller:
    shown = identity.ring.present(token)
    nothing: dict[str, Any] = {"headers": {}, "repeated": frozenset(), "peer": "", "run": ""}
    return identity.identifier.caller(
        **nothing, credentials=Credentials([]), keys=(shown,) if shown else ()
    )


def made(settings: Settings) -> str:
    key_id, token = keys.new_token()
    digest = keys.digest_of(token, settings.secret())
    repository = open_keys(settings)
    repository.add(
        Key(
            id=key_id,
            tenant="acme",
            role=Role.OPERATOR,
            created_at=datetime.now(UTC),
            digest=digest,
        )
    )
    repository.close()
    return token


def test_without_keys_nothing_is_opened_and_who_is_met_is_kept(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    identity = Identity(settings, Counters())
    assert not settings.shared_database.exists()
    assert caller(identity).tenant == "default"
    identity.done()
    metadata = SqliteMetadataRepository(SharedSqliteFile(settings.shared_database))
    assert [tenant.id for tenant in metadata.tenants()] == ["default"]
    metadata.close()


def test_what_is_to_be_forgotten_leaves_no_file(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, **{"storage.profile": "memory"})
    identity = Identity(settings, Counters())
    caller(identity)
    identity.done()
    assert not settings.shared_database.exists()


def test_a_key_that_a_command_made_is_known(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, **{"auth.enabled": True})
    identity = Identity(settings, Counters())
    with pytest.raises(KeyMissing):
        caller(identity)
    with pytest.raises(KeyUnknown):
        caller(identity, keys.new_token()[1])
    assert caller(identity, made(settings)).tenant == "acme"
    identity.done()


def test_a_damaged_store_lets_nobody_in_who_has_a_key(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    settings.shared_database.write_bytes(b"no database" * 1000)
    identity = Identity(settings, Counters())
    with pytest.raises(KeysUnavailable):
        caller(identity, keys.new_token()[1])
    identity.done()
