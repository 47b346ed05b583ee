from pathlib import Path

import pytest

from llmtrace.app import recorder as module
from llmtrace.app.recorder import Recoveries
from llmtrace.app.settings import Settings
from llmtrace.app.stores import open_storage
from llmtrace.config import load
from llmtrace.environment.home import Home
from llmtrace.storage.ledger import LedgerUnavailable
from llmtrace.storage.registry import close


def test_a_ledger_is_asked_for_only_once_calls_are_held_to_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(_settings: Settings) -> None:
        raise LedgerUnavailable("it is locked")

    def settings(*, limited: bool) -> Settings:
        chosen = {"rate_limiting.enabled": limited, "storage.profile": "memory"}
        return Settings(config=load(environ={}, overrides=chosen), home=Home(tmp_path))

    monkeypatch.setattr(module, "ledger_of", away)
    storage = open_storage(settings(limited=False))
    recoveries = Recoveries(settings(limited=False))
    recoveries(storage)
    assert not caplog.messages
    recoveries.take(settings(limited=True))
    recoveries(storage)
    close(storage)
    assert caplog.messages == ["budgets: it is locked; trying again"]
