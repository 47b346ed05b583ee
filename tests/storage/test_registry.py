from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from llmtrace.config.models import StorageConfig
from llmtrace.storage import registry
from llmtrace.storage.base import StorageUnavailable
from llmtrace.storage.memory import MemoryTraceRepository


def test_every_profile_of_the_configuration_can_be_built() -> None:
    profiles = get_args(StorageConfig.model_fields["profile"].annotation)
    assert set(profiles) == set(registry.PROFILES)


def test_an_unknown_profile_is_named_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"'lit', expected one of lite, memory"):
        registry.build("lit")


def test_health_tells_the_three_apart(tmp_path: Path) -> None:
    storage = registry.build("lite", database_path=tmp_path / "llmtrace.db")
    registry.close(storage)
    mixed = replace(storage, traces=MemoryTraceRepository())
    assert registry.health(mixed) == {"traces": True, "metadata": False, "cache": True}


def test_looking_only_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable, match="'llmtrace proxy' makes it"):
        registry.build("lite", database_path=tmp_path / "llmtrace.db", read_only=True)
    assert list(tmp_path.iterdir()) == []
