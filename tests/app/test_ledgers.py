from pathlib import Path
from typing import Any

import pytest

from llmtrace.app.ledgers import ledger_in_time, ledger_of
from llmtrace.app.settings import Settings
from llmtrace.config import load
from llmtrace.environment.home import Home
from llmtrace.storage.ledger import LedgerUnavailable
from llmtrace.storage.redis_ledger import RedisLedger
from llmtrace.storage.redis_link import Unsuitable
from llmtrace.storage.sqlite_ledger import SqliteLedger
from llmtrace.testing import redis


def settings(folder: Path, **overrides: Any) -> Settings:
    made = Settings(config=load(environ={}, overrides=overrides), home=Home(folder / "home"))
    made.prepare()
    return made


def test_budgets_lie_beside_the_traces(tmp_path: Path) -> None:
    made = settings(tmp_path)
    ledger = ledger_of(made)
    assert isinstance(ledger, SqliteLedger)
    assert made.shared_database.parent == made.database.parent
    ledger.close()


def test_a_worker_waits_for_a_ledger_that_cannot_be_opened(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = settings(tmp_path)
    made.shared_database.write_bytes(b"no database at all, whatever it is" * 300)
    with pytest.raises(LedgerUnavailable):
        ledger_of(made)
    ledger = ledger_in_time(made)
    assert "damaged or no SQLite database" in caplog.text
    assert not ledger.healthy()
    made.shared_database.unlink()
    assert ledger.healthy()
    ledger.close()


@pytest.mark.skipif(not redis.installed(), reason=redis.MISSING)
def test_no_worker_starts_with_a_redis_that_may_forget(tmp_path: Path) -> None:
    with redis.RedisServer({"maxmemory-policy": "allkeys-lru"}) as server:
        made = settings(tmp_path, storage={"redis_url": server.url})
        with pytest.raises(Unsuitable, match="expected 'noeviction'"):
            ledger_in_time(made)
    assert not made.shared_database.exists()


@pytest.mark.skipif(not redis.installed(), reason=redis.MISSING)
def test_a_worker_waits_for_a_redis_that_is_down(tmp_path: Path) -> None:
    server = redis.RedisServer()
    made = settings(tmp_path, storage={"redis_url": server.url})
    ledger = ledger_in_time(made)
    assert isinstance(ledger, RedisLedger)
    assert not ledger.healthy()
    ledger.close()
    server.stop()


@pytest.mark.skipif(not redis.installed(), reason=redis.MISSING)
def test_budgets_lie_in_redis_where_there_is_one(tmp_path: Path) -> None:
    with redis.RedisServer() as server:
        made = settings(tmp_path, storage={"redis_url": server.url})
        told = Settings.parse(made.dump())
        ledger = ledger_of(told)
        assert ledger.healthy()
        ledger.close()
    assert not made.shared_database.exists()
