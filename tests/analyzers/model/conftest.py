from collections.abc import Iterator

import pytest

from llmtrace.testing.hub import StandInHub


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInHub]:
    """A stand-in of the hub on loopback; the client library sends nothing elsewhere."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with StandInHub() as running:
        yield running
