from pathlib import Path

import pytest

from llmtrace.storage import registry
from llmtrace.testing.stores import LASTING, STORES, opened


@pytest.mark.parametrize("name", STORES)
def test_every_profile_opens_in_a_folder(name: str, tmp_path: Path) -> None:
    storage = STORES[name](tmp_path)
    assert all(registry.health(storage).values())
    registry.close(storage)


def test_what_lasts_is_a_profile() -> None:
    assert set(LASTING) <= set(STORES)


@pytest.mark.parametrize("name", STORES)
def test_opened_stores_are_closed_again(name: str) -> None:
    with opened(name) as storage:
        traces = storage.traces
    assert traces.healthy() is (name not in LASTING)
