from pathlib import Path

import pytest

from llmtrace.app.settings import Settings
from llmtrace.app.stores import open_storage
from llmtrace.config import load
from llmtrace.environment.home import Home
from llmtrace.storage.base import TraceQuery
from llmtrace.storage.registry import close


@pytest.mark.parametrize("profile", ["lite", "memory"])
def test_the_configured_profile_is_opened(tmp_path: Path, profile: str) -> None:
    config = load(environ={}, overrides={"storage.profile": profile})
    storage = open_storage(Settings(config=config, home=Home(tmp_path)))
    assert storage.traces.query(TraceQuery()) == []
    assert (tmp_path / "llmtrace.db").exists() is (profile == "lite")
    close(storage)
