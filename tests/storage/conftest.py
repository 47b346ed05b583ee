from collections.abc import Iterator
from pathlib import Path

import pytest

from llmtrace.storage import registry
from llmtrace.storage.base import CacheLayer, MetadataRepository, Storage, TraceRepository
from llmtrace.testing.stores import STORES


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


@pytest.fixture
def cache(storage: Storage) -> CacheLayer:
    return storage.cache
