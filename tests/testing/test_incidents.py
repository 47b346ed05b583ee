import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from llmtrace.domain.findings import Verdict
from llmtrace.testing.incidents import INCIDENTS, ORDERS, TOKEN, Changed, changed
from llmtrace.testing.inprocess import Worker, running_worker
from llmtrace.testing.provider import ScriptedProvider
from llmtrace.testing.scenario import HOSTS, STEPS, Step, StepResult, run_scenario

TOKEN_STEP, PAGE_STEP, SCRIPT_STEP = INCIDENTS


@pytest.fixture
async def worker(provider: ScriptedProvider, tmp_path: Path) -> AsyncIterator[Worker]:
    policy = {"preset": "balanced"}
    async with running_worker(tmp_path, provider, mode="enforce", policy=policy) as running:
        yield running


async def play(worker: Worker, step: Step) -> StepResult:
    url, pem = worker.proxy_url, worker.ca_pem
    [result] = await asyncio.to_thread(lambda: run_scenario(url, pem, steps=[step]))
    assert (result.status, result.error) == (200, "")
    return result


async def test_the_provider_gets_no_token_and_the_agent_gets_it_back(worker: Worker) -> None:
    result = await play(worker, TOKEN_STEP)
    received = worker.provider.model_calls[-1].body
    assert TOKEN.encode() not in received
    change = changed(TOKEN_STEP, received)
    assert change.sent == (f'token = "{TOKEN}"',)
    assert [line.startswith('token = "LLMT_TOKEN_') for line in change.received] == [True]
    [call] = result.tool_calls
    assert json.loads(call.arguments)["content"] == f'token = "{TOKEN}"'


async def test_a_poisoned_page_is_set_aside_and_the_conversation_goes_on(worker: Worker) -> None:
    result = await play(worker, PAGE_STEP)
    change = changed(PAGE_STEP, worker.provider.model_calls[-1].body)
    assert f"<!-- {ORDERS} -->" in change.sent
    assert [line.startswith("[LLMTrace set this content aside") for line in change.received] == [
        True
    ]
    assert result.text.startswith("I could not read that page.")


async def test_a_command_that_must_not_run_never_reaches_the_agent(worker: Worker) -> None:
    result = await play(worker, SCRIPT_STEP)
    assert result.tool_calls == ()
    assert result.text.startswith("LLMTrace blocked this tool call: Dangerous command")


@pytest.mark.parametrize("step", [*STEPS, *INCIDENTS], ids=[s.title for s in [*STEPS, *INCIDENTS]])
async def test_each_step_is_judged_as_it_says(worker: Worker, step: Step) -> None:
    await play(worker, step)
    trace = await worker.journal.trace()
    assert trace.verdict is step.verdict
    assert bool(trace.findings) is (step.verdict is not Verdict.ALLOW)


def test_they_need_no_other_hosts_than_the_scenario() -> None:
    assert {step.host for step in INCIDENTS} <= set(HOSTS)


def test_nothing_is_changed_where_a_provider_gets_what_was_sent() -> None:
    sent = json.dumps(dict(PAGE_STEP.body)).encode()
    assert changed(PAGE_STEP, sent) == Changed(sent=(), received=())
