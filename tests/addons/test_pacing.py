import asyncio
import gc
import weakref
from typing import Any

import pytest
from mitmproxy import http
from mitmproxy.connection import Client
from mitmproxy.options import Options
from mitmproxy.proxy import events, layer
from mitmproxy.proxy.context import Context

from llmtrace.addons.pacing import Pace, Rounds, Unsent, Waits
from llmtrace.testing.dataplane import PROVIDER, H2Client, read_answer


async def test_readers_wait_until_what_they_read_is_handled() -> None:
    waiting, went = 9, []
    pace = Pace(lambda: waiting > 8)

    async def read(name: str) -> None:
        await pace.kept()
        went.append(name)

    readers = [asyncio.create_task(read(name)) for name in "ab"]
    await asyncio.sleep(0)
    pace.caught_up()
    await asyncio.sleep(0)
    assert went == []
    waiting = 8
    pace.caught_up()
    await asyncio.gather(*readers)
    assert went == ["a", "b"]


async def test_a_reader_waits_on_if_it_is_behind_again_before_its_turn() -> None:
    behind = True
    pace = Pace(lambda: behind)
    reader = asyncio.create_task(pace.kept())
    await asyncio.sleep(0)
    behind = False
    pace.caught_up()
    behind = True
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not reader.done()
    behind = False
    pace.caught_up()
    await reader


async def test_a_reader_that_was_cancelled_holds_no_other() -> None:
    behind = True
    pace = Pace(lambda: behind)
    gone, stays = (asyncio.create_task(pace.kept()) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    behind = False
    pace.caught_up()
    await stays
    assert gone.cancelled()


class Silent(layer.Layer):
    """Waits, with what has come put aside."""

    def __init__(self, waiting: int) -> None:
        client = Client(peername=("192.0.2.1", 1), sockname=("192.0.2.2", 2))
        super().__init__(Context(client, Options()))
        self._paused_event_queue.extend([events.Start()] * waiting)

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        yield from ()


async def test_a_client_is_read_until_a_layer_that_waits_has_put_too_much_aside() -> None:
    unsent, few, many = Unsent(8), Silent(8), Silent(9)
    unsent.note(Waits(few, begins=True))
    await asyncio.wait_for(unsent.kept(), 1)
    unsent.note(Waits(many, begins=True))
    reader = asyncio.create_task(unsent.kept())
    await asyncio.sleep(0)
    unsent.caught_up()
    await asyncio.sleep(0)
    assert not reader.done()
    unsent.note(Waits(many, begins=False))
    unsent.caught_up()
    await asyncio.wait_for(reader, 1)


class Seen:
    def __init__(self) -> None:
        self.flows: list[weakref.ref[http.HTTPFlow]] = []

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        self.flows.append(weakref.ref(flow))

    @property
    def left(self) -> int:
        return sum(ref() is not None for ref in self.flows)


async def test_a_call_that_has_ended_is_freed_at_once(gateway: Any, upstream: Any) -> None:
    seen = Seen()
    gw = await gateway(addons=[seen], to=await upstream(tls=True))
    reader, writer = await gw.tls("http/1.1")
    head = f"POST /v1/x HTTP/1.1\r\nHost: {PROVIDER}\r\nContent-Length: 3\r\n\r\nabc"
    gc.collect()
    gc.disable()
    try:
        for _ in range(5):
            writer.write(head.encode())
            await read_answer(reader)
        await asyncio.sleep(0.05)
        assert (len(seen.flows), seen.left) == (5, 0)
    finally:
        gc.enable()


async def test_a_call_by_http2_that_has_ended_is_freed_at_once(gateway: Any, upstream: Any) -> None:
    seen = Seen()
    gw = await gateway(addons=[seen], to=await upstream(tls=True))
    client = H2Client(await gw.tls("h2"))
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            await client.answer(client.request(body=b"abc"))
        await asyncio.sleep(0.05)
        assert (len(seen.flows), seen.left) == (3, 0)
    finally:
        gc.enable()


async def test_what_waits_on_all_connections_is_handled_in_one_step_of_the_next_round() -> None:
    rounds, went = Rounds(), list[str]()

    def again() -> None:
        went.append("a")
        if went.count("a") < 2:
            rounds.add(again)

    rounds.add(again)
    rounds.add(lambda: went.append("b"))
    assert went == []
    await asyncio.sleep(0)
    assert went == ["a", "b"]
    await asyncio.sleep(0)
    assert went == ["a", "b", "a"]


async def test_a_turn_that_fails_takes_none_from_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rounds, went = Rounds(), list[str]()

    def fails() -> None:
        raise RuntimeError("planted")

    rounds.add(fails)
    rounds.add(lambda: went.append("b"))
    await asyncio.sleep(0)
    assert went == ["b"]
    assert "a connection's turn failed" in caplog.text
