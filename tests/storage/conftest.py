from collections.abc import Iterator
from pathlib import Path

import pytest

from llmtrace.storage import registry
from llmtrace.storage.base import CacheLayer, MetadataRepository, Storage, TraceRepository
from llmtrace.storage.ledger import Ledger
from llmtrace.testing import redis
from llmtrace.testing.ledgers import LEDGERS, NEED_REDIS, SetClock
from llmtrace.testing.stores import CACHES, STORES


@pytest.fixture(params=STORES)
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    opened = STORES[request.param](tmp_path)
    yield opened
    registry.close(opened)


@pytest.fixture
def store(storage: Storage) -> TraceRepository:
    return storage.traces


@pytest.fixture
def metadata(storage: Storage) -> MetadataRepository:
    return storage.metadata


@pytest.fixture(params=CACHES)
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CacheLayer]:
    if request.param in NEED_REDIS and not redis.installed():
        pytest.skip(redis.MISSING)
    opened = CACHES[request.param](tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture(params=LEDGERS)
def ledger(request: pytest.FixtureRequest, tmp_path: Path, clock: SetClock) -> Iterator[Ledger]:
    if request.param in NEED_REDIS and not redis.installed():
        pytest.skip(redis.MISSING)
    opened = LEDGERS[request.param](tmp_path, clock)
    yield opened
    opened.close()
