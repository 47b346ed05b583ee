"""Enforcement on WebSockets: what must not pass does not, in order, and the connection goes on."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from llmtrace.domain.findings import Verdict
from llmtrace.domain.traces import Outcome
from llmtrace.testing.inprocess import Worker, running_worker
from llmtrace.testing.oracles import Socket
from llmtrace.testing.planted import INJECTION, POLICY, SECRET, create, deltas, item, sent
from llmtrace.testing.provider import ScriptedProvider
from llmtrace.testing.script import Script, ScriptedTool

CANARY = "planted-canary-5f1e9b"
REALTIME = "/v1/realtime?model=gpt-realtime"
SERVED = {"openai.responses": "/v1/responses", "openai.realtime": REALTIME}


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


@pytest.fixture
async def worker(provider: ScriptedProvider, tmp_path: Path) -> AsyncIterator[Worker]:
    provider.clear()
    analysis = {"canaries": [CANARY]}
    async with running_worker(
        tmp_path, provider, mode="enforce", policy=POLICY, security_analysis=analysis
    ) as running:
        yield running


@pytest.fixture
async def socket(worker: Worker) -> AsyncIterator[Socket]:
    opened = await (await Socket.open(worker)).accepted()
    yield opened
    opened.abort()


@pytest.fixture
async def realtime(worker: Worker) -> AsyncIterator[Socket]:
    opened = await (await Socket.open(worker, REALTIME)).accepted()
    assert await opened.until("session.created")
    yield opened
    opened.abort()


async def answer(socket: Socket, last: str = "response.completed") -> list[dict[str, Any]]:
    """Read to a call's last message, whatever that is."""
    messages = []
    while (message := await socket.message()) is not None:
        messages.append(message)
        if message["type"] in (last, "error"):
            break
    return messages


WRAPPED = pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "wrapped"])


# --- what the client says ---------------------------------------------------------------------


@WRAPPED
async def test_a_secret_is_masked_on_its_way_out(
    worker: Worker, socket: Socket, wrapped: bool
) -> None:
    socket.send(create(f"The token is {SECRET} for now.", wrapped=wrapped))
    assert await socket.until("response.completed")
    (message,) = sent(worker)
    request = message["response"] if wrapped else message
    assert request["input"].startswith("The token is LLMT_")
    assert request["input"].endswith(" for now.")
    assert SECRET not in json.dumps(message)
    (trace,) = await worker.journal.traces(1)
    assert (trace.outcome, trace.verdict) == (Outcome.OK, Verdict.REDACT)
    (found,) = trace.findings
    assert (found.verdict, found.rule) == (Verdict.REDACT, "secrets")
    for _begun, body in worker.journal.begun:
        assert body is not None
        assert SECRET.encode() not in body.content


@WRAPPED
async def test_an_injection_is_withheld_and_the_connection_goes_on(
    worker: Worker, socket: Socket, wrapped: bool
) -> None:
    socket.send(create(INJECTION, wrapped=wrapped))
    error = await socket.message()
    assert error is not None
    assert (error["type"], error["error"]["code"]) == ("error", "llmtrace_blocked")
    assert error["status"] == 400
    assert "previous instructions" not in json.dumps(error)
    assert sent(worker) == []
    socket.send(create("What is the weather?"))
    messages = await answer(socket)
    assert messages[0]["type"] == "response.created"
    assert messages[-1]["type"] == "response.completed"
    blocked, good = await worker.journal.traces(2)
    assert (blocked.outcome, blocked.verdict) == (Outcome.REFUSED, Verdict.BLOCK)
    assert blocked.trace_id in error["error"]["message"]
    assert (good.outcome, good.verdict) == (Outcome.OK, Verdict.ALLOW)
    assert len(sent(worker)) == 1


async def test_a_poisoned_tool_output_is_set_aside(worker: Worker, socket: Socket) -> None:
    output = {"type": "function_call_output", "call_id": "c1", "output": INJECTION}
    body = {"type": "response.create", "model": "gpt-4o", "input": [output]}
    socket.send(json.dumps(body))
    assert await socket.until("response.completed")
    (message,) = sent(worker)
    assert "previous instructions" not in json.dumps(message)
    assert "LLMTrace set this content aside" in message["input"][0]["output"]


@WRAPPED
async def test_a_warm_up_is_judged_like_a_call(
    worker: Worker, socket: Socket, wrapped: bool
) -> None:
    socket.send(create(f"The token is {SECRET}.", wrapped=wrapped, generate=False))
    assert await socket.until("response.completed")
    assert SECRET not in json.dumps(sent(worker))
    socket.send(create(INJECTION, wrapped=wrapped, generate=False))
    error = await socket.message()
    assert error is not None
    assert error["type"] == "error"
    assert len(sent(worker)) == 1
    socket.send(create("And now?"))
    assert (await answer(socket))[-1]["type"] == "response.completed"
    refused, good = await worker.journal.traces(2)
    assert (refused.outcome, good.outcome) == (Outcome.REFUSED, Outcome.OK)
    assert good.verdict is Verdict.REDACT  # of what went before it, and is read with it


@pytest.mark.parametrize(
    "message",
    [
        json.dumps({"type": "response.steer", "input": f"The token is {SECRET}."}),
        json.dumps({"type": "new.thing", "text": f"The token is {SECRET}."}),
        json.dumps([{"type": "response.create", "input": f"The token is {SECRET}."}]),
        json.dumps(f"The token is {SECRET}."),
    ],
    ids=["steering", "unknown-type", "list", "string"],
)
async def test_what_is_no_call_is_judged_by_itself(
    worker: Worker, socket: Socket, message: str
) -> None:
    socket.send(message)
    socket.send(create())
    assert await socket.until("response.completed")
    assert SECRET not in json.dumps(sent(worker))
    assert "LLMT_" in json.dumps(sent(worker)[0])


# --- what the provider says -------------------------------------------------------------------


@pytest.mark.parametrize("chunks", [1, 7, 60])
async def test_a_secret_in_an_answer_is_hidden_wherever_it_is_said_again(
    worker: Worker, socket: Socket, chunks: int
) -> None:
    worker.provider.enqueue(Script(text=f"The token is {SECRET} as asked.", chunks=chunks))
    socket.send(create())
    messages = await answer(socket)
    assert SECRET not in json.dumps(messages)
    assert SECRET[:10] not in deltas(messages)
    whole = messages[-1]["response"]["output"][0]["content"][0]["text"]
    assert deltas(messages) == whole
    assert whole.startswith("The token is [SECRET:")
    kinds = {message["type"] for message in messages}
    assert {"response.output_text.done", "response.content_part.done"} <= kinds
    (trace,) = await worker.journal.traces(1)
    assert (trace.outcome, trace.verdict) == (Outcome.OK, Verdict.REDACT)


async def test_messages_keep_their_order_and_their_number(worker: Worker, socket: Socket) -> None:
    worker.provider.enqueue(
        Script(reasoning=f"I know {SECRET} well.", text=f"It is {SECRET} indeed.", chunks=30)
    )
    socket.send(create())
    numbers = [message["sequence_number"] for message in await answer(socket)]
    assert numbers == list(range(len(numbers)))


@pytest.mark.parametrize("place", ["text", "reasoning"])
async def test_the_block_in_mid_answer_is_the_last_that_is_heard_of_it(
    worker: Worker, socket: Socket, place: str
) -> None:
    words = f"Well, I was told {CANARY} and so on, for long."
    text = Script(text=words, chunks=40)
    reasoning = Script(text="One, two, and so on.", reasoning=words)
    worker.provider.enqueue(text if place == "text" else reasoning)
    socket.send(create())
    messages = await answer(socket)
    assert messages[-1]["type"] == "error"
    assert messages[-1]["error"]["code"] == "llmtrace_blocked"
    said = "".join(message.get("delta", "") for message in messages)
    assert said.startswith("Well, I was")
    assert "planted" not in said
    (trace,) = await worker.journal.traces(1)
    assert (trace.outcome, trace.verdict) == (Outcome.STOPPED, Verdict.BLOCK)
    socket.send(create("And now?"))
    after = await answer(socket)
    assert after[0]["type"] == "response.created"
    assert after[-1]["type"] == "response.completed"
    item_ids = {message["item_id"] for message in after if "item_id" in message}
    assert item_ids == {after[-1]["response"]["output"][0]["id"]}


async def test_a_dangerous_tool_call_ends_in_words(worker: Worker, socket: Socket) -> None:
    arguments = json.dumps({"command": "rm -rf /"})
    worker.provider.enqueue(
        Script(text="", tool_calls=(ScriptedTool(name="Bash", arguments=arguments),))
    )
    socket.send(create())
    messages = await answer(socket)
    said = json.dumps(messages)
    assert "rm -rf" not in said
    assert "dangerous_command" in said
    assert messages[-1]["type"] == "response.completed"
    assert [one["type"] for one in messages[-1]["response"]["output"]] == ["message"]
    (trace,) = await worker.journal.traces(1)
    assert (trace.outcome, trace.verdict) == (Outcome.STOPPED, Verdict.BLOCK)
    socket.send(create("And now?"))
    assert (await answer(socket))[-1]["type"] == "response.completed"


@pytest.mark.parametrize("place", ["text", "tool"])
async def test_what_was_hidden_comes_back(worker: Worker, socket: Socket, place: str) -> None:
    socket.send(create(f"Write {SECRET} down."))
    await answer(socket)
    masked = sent(worker)[0]["input"].split()[1]
    if place == "tool":
        arguments = json.dumps({"path": "t.env", "content": f"TOKEN={masked}\n"})
        script = Script(text="", tool_calls=(ScriptedTool(name="Write", arguments=arguments),))
    else:
        script = Script(text=f"I wrote {masked} there.", chunks=23)
    worker.provider.enqueue(script)
    socket.send(create("Go on."))
    said = json.dumps(await answer(socket))
    assert SECRET in said
    assert masked not in said
    await worker.journal.traces(2)
    for record in worker.journal.ended:
        assert record.answer is None or SECRET.encode() not in record.answer.content
        assert SECRET not in record.texts.prompt + record.texts.answer


async def test_calls_on_one_connection_do_not_mix(worker: Worker, socket: Socket) -> None:
    texts = [f"It is {SECRET}.", "Plain words.", f"Again {SECRET} here.", "The end."]
    worker.provider.enqueue(*(Script(text=text, chunks=9) for text in texts))
    for number in range(len(texts)):
        socket.send(create(f"Question {number}"))
    for text in texts:
        messages = await answer(socket)
        assert messages[-1]["type"] == "response.completed"
        said = deltas(messages)
        assert SECRET not in said
        assert said.split()[0] == text.split()[0]
        assert ("SECRET" in said) == (SECRET in text)
    traces = await worker.journal.traces(len(texts))
    assert [t.verdict for t in traces] == [
        Verdict.REDACT if SECRET in text else Verdict.ALLOW for text in texts
    ]


async def test_without_findings_every_message_is_the_providers(
    worker: Worker, socket: Socket, provider: ScriptedProvider, tmp_path: Path
) -> None:
    script = Script(text="One, two, three and four.", reasoning="Counting.", chunks=11)
    worker.provider.enqueue(script)
    socket.send(create())
    enforced = await answer(socket)
    folder = tmp_path / "observing"
    folder.mkdir()
    async with running_worker(folder, provider) as observing:
        provider.enqueue(script)
        other = await (await Socket.open(observing)).accepted()
        other.send(create())
        seen = await answer(other)
        other.abort()
    assert _without_ids(enforced) == _without_ids(seen)


def _without_ids(value: Any) -> Any:
    if isinstance(value, dict):
        ids = ("id", "item_id", "call_id")
        return {key: "" if key in ids else _without_ids(one) for key, one in value.items()}
    return [_without_ids(one) for one in value] if isinstance(value, list) else value


async def test_the_first_word_is_not_held(worker: Worker, socket: Socket) -> None:
    worker.provider.enqueue(Script(text="Well, and then the rest.", hold=True))
    socket.send(create())
    first = await socket.until("response.output_text.delta")
    assert first is not None
    assert first["delta"] == "Well,"
    worker.provider.release()
    assert await socket.until("response.completed")


async def test_a_client_that_leaves_while_an_answer_is_held_ends_one_call(
    worker: Worker, socket: Socket
) -> None:
    arguments = json.dumps({"command": "ls " + "x" * 200})
    call = ScriptedTool(name="Bash", arguments=arguments)
    worker.provider.enqueue(Script(text="", tool_calls=(call,), hold=True))
    socket.send(create())
    await socket.until("response.in_progress")
    await asyncio.sleep(0.05)
    socket.abort()
    (trace,) = await worker.journal.traces(1)
    assert trace.outcome is Outcome.CLIENT_LEFT
    worker.provider.release()


# --- Realtime ---------------------------------------------------------------------------------


async def test_realtime_masks_a_secret_in_an_item(worker: Worker, realtime: Socket) -> None:
    realtime.send(item(f"The token is {SECRET} for now."))
    assert await realtime.until("conversation.item.done")
    (message,) = sent(worker)
    text = message["item"]["content"][0]["text"]
    assert SECRET not in text
    assert text.startswith("The token is LLMT_")
    realtime.send(json.dumps({"type": "response.create"}))
    assert await realtime.until("response.done")
    (trace,) = await worker.journal.traces(1)
    assert trace.outcome is Outcome.OK
    assert trace.verdict is Verdict.REDACT


async def test_realtime_withholds_an_injection_in_an_item(worker: Worker, realtime: Socket) -> None:
    realtime.send(item(INJECTION))
    error = await realtime.message()
    assert error is not None
    assert error["type"] == "error"
    assert sent(worker) == []
    realtime.send(item("What is the weather?"))
    realtime.send(json.dumps({"type": "response.create"}))
    assert await realtime.until("response.done")
    refused, good = await worker.journal.traces(2)
    assert (refused.outcome, refused.verdict) == (Outcome.REFUSED, Verdict.BLOCK)
    assert (good.outcome, good.verdict) == (Outcome.OK, Verdict.ALLOW)


async def test_realtime_sets_a_poisoned_output_aside(worker: Worker, realtime: Socket) -> None:
    realtime.send(item(INJECTION, role="tool"))
    assert await realtime.until("conversation.item.done")
    (message,) = sent(worker)
    assert "LLMTrace set this content aside" in message["item"]["output"]


@pytest.mark.parametrize(
    "message",
    [
        {"type": "session.update", "session": {"instructions": f"Use {SECRET} there."}},
        {"type": "response.create", "response": {"instructions": f"Use {SECRET} there."}},
        {
            "type": "response.create",
            "response": {
                "input": [
                    {
                        "type": "message",
                        "role": "user",
                        "content": [{"type": "input_text", "text": f"Use {SECRET} there."}],
                    }
                ]
            },
        },
    ],
    ids=["session", "instructions", "input"],
)
async def test_realtime_masks_what_stands_elsewhere(
    worker: Worker, realtime: Socket, message: dict[str, Any]
) -> None:
    realtime.send(json.dumps(message))
    if message["type"] == "session.update":
        realtime.send(json.dumps({"type": "response.create"}))
    assert await realtime.until("response.done")
    assert SECRET not in json.dumps(sent(worker))
    assert "LLMT_" in json.dumps(sent(worker)[0])


async def test_realtime_hides_a_secret_in_an_answer(worker: Worker, realtime: Socket) -> None:
    worker.provider.enqueue(Script(text=f"The token is {SECRET} as asked.", chunks=9))
    realtime.send(json.dumps({"type": "response.create"}))
    messages = await answer(realtime, "response.done")
    assert SECRET not in json.dumps(messages)
    assert SECRET[:10] not in deltas(messages)
    whole = messages[-1]["response"]["output"][0]["content"][0]["text"]
    assert deltas(messages) == whole
