import asyncio
import json
from collections.abc import Mapping

import pytest

from llmtrace.addons.tunnels import TunnelLedger
from llmtrace.app import telling
from llmtrace.app.models import Missing, Models
from llmtrace.app.telling import status_of, tell
from llmtrace.pipeline.counters import Counters
from llmtrace.pipeline.tools import SharedTools, ToolStore
from llmtrace.storage.base import StorageUnavailable


def test_a_worker_tells_of_its_counters_and_its_models() -> None:
    counters = Counters()
    counters.count("findings", "pii.email")
    models = Models(missing=(Missing(name="a/b", reason="is not there"),))
    said = status_of(counters, TunnelLedger(), models)
    assert said == {
        "counters": {"findings{pii.email}": 1},
        "tunnels": {},
        "models": [{"loaded": False, "name": "a/b", "reason": "is not there"}],
        "caches": [],
    }
    json.dumps(said)


def test_a_worker_tells_how_often_it_compared_tools_by_itself() -> None:
    def away() -> ToolStore:
        raise StorageUnavailable("the disk is away, says the test")

    tools = SharedTools(away, secret=b"s" * 32)
    said = status_of(Counters(), TunnelLedger(), Models(), tools=tools)
    tools.close()
    assert said["counters"] == {"shared_tools{unavailable}": 1}


async def test_what_has_not_changed_is_told_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(telling, "STATUS_SECONDS", 0)
    told: list[Mapping[str, object]] = [{"n": 1}, {"n": 1}, {"n": 2}]
    asked = iter(told)
    over = asyncio.Event()

    def status() -> Mapping[str, object]:
        try:
            return next(asked)
        except StopIteration:
            over.set()
            return {"n": 2}

    task = asyncio.create_task(tell(status))
    await asyncio.wait_for(over.wait(), 5)
    task.cancel()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines == [{"status": {"n": 1}}, {"status": {"n": 2}}]
