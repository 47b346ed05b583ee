"""A planted secret and a planted injection in every place of every dialect, both ways."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from llmtrace.domain.findings import Verdict
from llmtrace.domain.traces import Outcome, Trace
from llmtrace.testing.forms import FORMS, PLACES
from llmtrace.testing.inprocess import Worker, running_worker
from llmtrace.testing.planted import INJECTION, POLICY, SECRET
from llmtrace.testing.provider import ScriptedProvider
from llmtrace.testing.script import Script, ScriptedTool

Spoken = Callable[[httpx2.Response], str]
WAYS = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
DIALECTS = pytest.mark.parametrize("dialect", FORMS)


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


@pytest.fixture
async def worker(provider: ScriptedProvider, tmp_path: Path) -> AsyncIterator[Worker]:
    provider.clear()
    async with running_worker(tmp_path, provider, mode="enforce", policy=POLICY) as running:
        yield running


async def ask(
    worker: Worker, dialect: str, *, streamed: bool, place: str = "", text: str = ""
) -> httpx2.Response:
    """Send a request with ``text`` in one place, and read all of the answer."""
    form = FORMS[dialect]
    body = form.body(streamed=streamed, place=place, text=text)
    async with httpx2.AsyncClient(
        proxy=worker.proxy_url, verify=worker.client_context(), trust_env=False, timeout=10
    ) as http:
        url = f"https://{form.host}{form.target(streamed=streamed)}"
        return await http.post(url, json=body, headers={"authorization": "Bearer none-at-all"})


async def ended(worker: Worker) -> Trace:
    return await worker.journal.trace()


@DIALECTS
@WAYS
@pytest.mark.parametrize("place", PLACES)
async def test_a_secret_never_reaches_the_provider(
    worker: Worker, dialect: str, streamed: bool, place: str
) -> None:
    text = f"The deploy token is {SECRET} for now."
    answer = await ask(worker, dialect, streamed=streamed, place=place, text=text)
    assert answer.status_code == 200
    (call,) = worker.provider.model_calls
    assert SECRET.encode() not in call.body
    json.loads(call.body)
    trace = await ended(worker)
    (found,) = [f for f in trace.findings if f.kind.startswith("secret.")]
    assert (found.verdict, found.rule) == (Verdict.REDACT, "secrets")
    assert trace.verdict is Verdict.REDACT
    (_begun, body), *_ = worker.journal.begun
    assert body is not None
    assert SECRET.encode() not in body.content


@DIALECTS
@WAYS
@pytest.mark.parametrize("place", ["user", "system", "tool_description"])
async def test_an_injection_stops_before_the_provider(
    worker: Worker, dialect: str, streamed: bool, place: str
) -> None:
    answer = await ask(worker, dialect, streamed=streamed, place=place, text=INJECTION)
    trace = await ended(worker)
    assert answer.status_code == 400
    assert answer.headers["x-should-retry"] == "false"
    assert trace.trace_id in answer.text
    assert "previous instructions" not in answer.text
    assert not worker.provider.model_calls
    assert (trace.outcome, trace.verdict) == (Outcome.REFUSED, Verdict.BLOCK)
    assert any(f.verdict is Verdict.BLOCK and f.location for f in trace.findings)


@DIALECTS
@WAYS
async def test_a_poisoned_tool_result_is_set_aside_and_the_talk_goes_on(
    worker: Worker, dialect: str, streamed: bool
) -> None:
    text = f"Weather: fine.\n\n{INJECTION}"
    bodies = []
    for _ in range(2):
        answer = await ask(worker, dialect, streamed=streamed, place="tool_result", text=text)
        assert answer.status_code == 200
        bodies.append(worker.provider.model_calls[-1].body)
    assert b"previous instructions" not in bodies[0]
    assert bodies[0] == bodies[1]  # so that prompt caches go on working
    trace = await ended(worker)
    assert trace.verdict is Verdict.QUARANTINE


@DIALECTS
@WAYS
@pytest.mark.parametrize("place", ["text", "tool"])
async def test_a_secret_in_an_answer_never_reaches_the_agent(
    worker: Worker, dialect: str, streamed: bool, place: str, spoken: Spoken
) -> None:
    if place == "tool":
        arguments = json.dumps({"path": "notes.txt", "content": f"token {SECRET} end"})
        script = Script(text="", tool_calls=(ScriptedTool(name="Write", arguments=arguments),))
    else:
        script = Script(text=f"The token is {SECRET} as you asked.", chunks=17)
    worker.provider.enqueue(script)
    answer = await ask(worker, dialect, streamed=streamed)
    assert answer.status_code == 200
    assert SECRET[4:] not in spoken(answer)
    trace = await ended(worker)
    (found,) = [f for f in trace.findings if f.kind.startswith("secret.")]
    assert found.verdict is Verdict.REDACT
    assert found.location.startswith("answer[0].")
    assert trace.outcome is Outcome.OK


@DIALECTS
@WAYS
async def test_a_dangerous_tool_call_never_reaches_the_agent(
    worker: Worker, dialect: str, streamed: bool, spoken: Spoken
) -> None:
    arguments = json.dumps({"command": "rm -rf /"})
    worker.provider.enqueue(
        Script(text="One moment.", tool_calls=(ScriptedTool(name="Bash", arguments=arguments),))
    )
    answer = await ask(worker, dialect, streamed=streamed)
    assert "rm -rf" not in spoken(answer)
    assert "dangerous_command" in spoken(answer)
    trace = await ended(worker)
    assert trace.verdict is Verdict.BLOCK
    assert any(f.kind == "dangerous_command" for f in trace.findings)


@DIALECTS
@WAYS
@pytest.mark.parametrize("place", ["text", "tool"])
async def test_what_was_hidden_comes_back_to_its_owner(
    worker: Worker, dialect: str, streamed: bool, place: str, spoken: Spoken
) -> None:
    text = f"Write {SECRET} to the file."
    await ask(worker, dialect, streamed=streamed, place="user", text=text)
    sent = worker.provider.model_calls[-1].body.decode()
    masked = sent.partition("Write ")[2].partition(" to the file")[0]
    assert masked
    assert SECRET not in masked
    if place == "tool":
        arguments = json.dumps({"path": "t.env", "content": f"TOKEN={masked}\n"})
        script = Script(text="", tool_calls=(ScriptedTool(name="Write", arguments=arguments),))
    else:
        script = Script(text=f"I wrote {masked} there.", chunks=23)
    worker.provider.enqueue(script)
    answer = await ask(worker, dialect, streamed=streamed, place="user", text=text)
    assert SECRET in spoken(answer)
    assert masked not in spoken(answer)
    for record in worker.journal.ended:
        assert record.answer is None or SECRET.encode() not in record.answer.content
