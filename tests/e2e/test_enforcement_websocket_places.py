"""What is planted in any place of a call on a WebSocket is found as in one over HTTP."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from llmtrace.domain.findings import Verdict
from llmtrace.testing.forms import FORMS, PLACES
from llmtrace.testing.inprocess import Worker, running_worker
from llmtrace.testing.oracles import Socket
from llmtrace.testing.planted import INJECTION, POLICY, SECRET, sent
from llmtrace.testing.provider import ScriptedProvider
from llmtrace.testing.script import Script

EACH = pytest.mark.parametrize("place", PLACES)


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


@pytest.fixture
async def worker(provider: ScriptedProvider, tmp_path: Path) -> AsyncIterator[Worker]:
    provider.clear()
    async with running_worker(tmp_path, provider, mode="enforce", policy=POLICY) as running:
        yield running


@pytest.fixture
async def socket(worker: Worker) -> AsyncIterator[Socket]:
    opened = await (await Socket.open(worker)).accepted()
    yield opened
    opened.abort()


def asked(place: str, text: str) -> str:
    """Return the message that asks with a text in one place."""
    body = FORMS["openai.responses"].body(streamed=True, place=place, text=text)
    return json.dumps({"type": "response.create", **body})


@EACH
async def test_a_secret_is_masked(worker: Worker, socket: Socket, place: str) -> None:
    socket.send(asked(place, f"The token is {SECRET} for now."))
    assert await socket.until("response.completed")
    assert SECRET not in json.dumps(sent(worker))
    (found,) = (await worker.journal.trace()).findings
    assert (found.kind, found.verdict) == ("secret.token", Verdict.REDACT)


@EACH
async def test_an_injection_does_not_go_on(worker: Worker, socket: Socket, place: str) -> None:
    socket.send(asked(place, f"Weather: fine.\n\n{INJECTION}"))
    message = await socket.message()
    assert message is not None
    poisoned = place == "tool_result"
    assert (message["type"] == "error") is not poisoned
    if poisoned:
        assert await socket.until("response.completed")
    assert "previous instructions" not in json.dumps(sent(worker))
    verdict = (await worker.journal.trace()).verdict
    assert verdict is (Verdict.QUARANTINE if poisoned else Verdict.BLOCK)


@pytest.mark.parametrize("place", ["text", "reasoning"])
async def test_a_secret_never_reaches_the_agent(worker: Worker, socket: Socket, place: str) -> None:
    said = f"The token is {SECRET} as you asked."
    script = Script(text=said, chunks=19) if place == "text" else Script(text="", reasoning=said)
    worker.provider.enqueue(script)
    socket.send(asked("user", "What is the token?"))
    heard = ""
    while (message := await socket.message()) is not None:
        heard += message.get("delta", "") if isinstance(message.get("delta"), str) else ""
        assert SECRET not in json.dumps(message)
        if message["type"] == "response.completed":
            break
    assert SECRET not in heard
    (found,) = (await worker.journal.trace()).findings
    assert (found.kind, found.verdict) == ("secret.token", Verdict.REDACT)
