from pathlib import Path

import pytest

from llmtrace.storage.profiles import StoreOptions, lite, memory
from llmtrace.testing.records import a_record, numbered_id


def test_lite_needs_a_file() -> None:
    with pytest.raises(ValueError, match=r"needs storage\.database_path"):
        lite(StoreOptions())


def test_the_stores_of_lite_share_one_file_until_the_last_is_closed(tmp_path: Path) -> None:
    storage = lite(StoreOptions(database_path=tmp_path / "llmtrace.db"))
    storage.metadata.close()
    storage.traces.put([a_record(1)])
    assert storage.traces.get(numbered_id(1)) == a_record(1).trace
    storage.traces.close()
    assert not storage.traces.healthy()
    assert not (tmp_path / "llmtrace.db-wal").exists()


def test_memory_needs_nothing() -> None:
    assert memory(StoreOptions()).traces.healthy()
