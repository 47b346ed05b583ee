import asyncio

import pytest

from llmtrace.testing.script import Script
from llmtrace.testing.serving import (
    Call,
    Gate,
    Left,
    Plan,
    play,
    request_of,
    split_target,
    spoiled,
)
from llmtrace.testing.wire import Chunk, json_reply, stream_reply


def call(target: str = "/v1/x%20y?alt=sse&empty=") -> Call:
    return Call(
        number=1,
        connection=1,
        protocol="http/1.1",
        method="POST",
        target=target,
        headers=(("X-Case", "1"), ("x-case", "2")),
        body=b"{}",
    )


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/a?b=1", ("/a", "b=1")),
        ("http://host/a?b", ("/a", "b")),
        ("http://host", ("/", "")),
        ("*", ("*", "")),
    ],
)
def test_a_target_has_a_path_and_a_query(target: str, expected: tuple[str, str]) -> None:
    assert split_target(target) == expected


def test_a_request_is_read_from_a_call() -> None:
    request = request_of(call(), "id")
    assert (request.path, request.query) == ("/v1/x y", {"alt": "sse", "empty": ""})
    assert call().header("X-CASE") == "1"
    assert call().sha256.startswith("44136fa3")


def test_an_unknown_way_to_misbehave_names_the_known() -> None:
    with pytest.raises(ValueError, match="'dance'; known are bad_json"):
        spoiled(json_reply({}), Script(misbehave="dance"))


REPLY = stream_reply([Chunk(b"head"), *(Chunk(b"%d" % n, delta=True) for n in range(3))])


async def test_a_held_stream_waits_after_its_first_delta() -> None:
    gate, sent, second = Gate(), list[bytes](), asyncio.Event()
    plan = Plan(call(), REPLY, Script(hold=True))

    async def send(data: bytes) -> None:
        sent.append(data)
        if len(sent) == 2:
            second.set()

    task = asyncio.create_task(play(plan, gate, send, lambda: False))
    await second.wait()
    await asyncio.sleep(0.02)
    assert sent == [b"head", b"0"]
    gate.open()
    await task
    assert sent == [b"head", b"0", b"1", b"2"]
    assert len(plan.call.sent_at) == 4


@pytest.mark.parametrize(
    "script", [Script(delay_ms=60_000), Script(hold=True)], ids=["paced", "held"]
)
async def test_a_client_that_leaves_ends_the_wait(script: Script) -> None:
    sent = list[bytes]()

    async def send(data: bytes) -> None:
        sent.append(data)

    with pytest.raises(Left):
        await play(Plan(call(), REPLY, script), Gate(), send, lambda: len(sent) == 2)
