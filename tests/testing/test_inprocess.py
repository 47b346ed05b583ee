from pathlib import Path

import httpx2
import pytest

from llmtrace.domain.traces import Outcome
from llmtrace.pipeline.journal import JournalUnavailable
from llmtrace.testing.inprocess import RememberingJournal, running_worker
from llmtrace.testing.provider import ScriptedProvider
from llmtrace.testing.records import a_trace


async def test_a_worker_serves_from_the_tests_own_loop(tmp_path: Path) -> None:
    with ScriptedProvider() as provider:
        async with running_worker(tmp_path, provider) as worker:
            url = f"{worker.base_url}/openai/v1/chat/completions"
            body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
            async with httpx2.AsyncClient(trust_env=False) as http:
                assert (await http.post(url, json=body)).status_code == 200
            assert worker.journal.outcomes() == [Outcome.OK]
            assert len(provider.model_calls) == 1
        async with httpx2.AsyncClient(trust_env=False) as http:
            with pytest.raises(httpx2.ConnectError):
                await http.get(worker.base_url)


async def test_a_broken_journal_takes_nothing() -> None:
    journal = RememberingJournal(broken=True)
    with pytest.raises(JournalUnavailable):
        await journal.begin(a_trace(), None)
    assert journal.begun == []
