import asyncio
from typing import Any

from llmtrace.addons.limits import Limits
from llmtrace.testing.dataplane import read_all, read_answer

CALL = b"GET /v1/x HTTP/1.1\r\nHost: api.openai.com\r\n\r\n"


async def test_greeting_that_never_ends_is_closed(gateway: Any) -> None:
    gw = await gateway(limits=Limits(head_seconds=0.05))
    _, (reader, writer) = await gw.tunnel()
    writer.write(b"\x16\x03\x01\x02\x00\x01")
    assert await asyncio.wait_for(read_all(reader), 5) == b""
    assert gw.counts["head_seconds"] == 1


async def test_finished_handshake_is_left_alone(gateway: Any, upstream: Any) -> None:
    gw = await gateway(limits=Limits(head_seconds=0.1), to=await upstream(tls=True))
    reader, writer = await gw.tls()
    await asyncio.sleep(0.2)
    writer.write(CALL)
    assert (await read_answer(reader)).endswith(b"ok")
    assert not gw.counts
