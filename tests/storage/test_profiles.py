from pathlib import Path

import pytest

from llmtrace.domain.traces import Tenant
from llmtrace.storage.profiles import StoreOptions, lite, memory
from llmtrace.storage.registry import close
from llmtrace.testing.records import NOON, a_record


def test_lite_needs_a_file() -> None:
    with pytest.raises(ValueError, match=r"needs storage\.database_path"):
        lite(StoreOptions())


def test_metadata_can_be_written_while_another_process_writes_traces(tmp_path: Path) -> None:
    path = tmp_path / "llmtrace.db"
    first, second = (lite(StoreOptions(database_path=path)) for _ in range(2))
    first.traces.put([a_record(1)])
    tenant = Tenant(id="acme", name="Acme", created_at=NOON)
    second.metadata.put_tenant(tenant)
    assert first.metadata.tenants() == [tenant]
    for storage in (first, second):
        close(storage)
    assert not first.traces.healthy()


def test_who_only_looks_makes_no_file_for_metadata(tmp_path: Path) -> None:
    path = tmp_path / "llmtrace.db"
    close(lite(StoreOptions(database_path=path)))
    for file in tmp_path.glob("limits.sqlite*"):
        file.unlink()
    looking = lite(StoreOptions(database_path=path, read_only=True))
    assert looking.metadata.tenants() == []
    assert looking.metadata.healthy()
    close(looking)
    assert list(tmp_path.glob("limits*")) == []


def test_who_only_looks_sees_the_metadata(tmp_path: Path) -> None:
    path = tmp_path / "llmtrace.db"
    storage = lite(StoreOptions(database_path=path))
    storage.metadata.put_tenant(Tenant(id="acme", name="Acme", created_at=NOON))
    looking = lite(StoreOptions(database_path=path, read_only=True))
    assert [tenant.id for tenant in looking.metadata.tenants()] == ["acme"]
    close(looking)
    close(storage)


def test_memory_needs_nothing() -> None:
    assert memory(StoreOptions()).traces.healthy()
