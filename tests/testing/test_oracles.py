"""The oracles: what each understands of the same bytes, and what they refuse."""

import asyncio

import pytest

from llmtrace.testing.oracles import LenientOracle, StrictOracle

PLAIN = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi"
CHUNKED = b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
HIDDEN = b"POST /a HTTP/1.1\r\nHost: h\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n"


async def send(url: str, data: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    writer.write(data)
    writer.write_eof()
    await asyncio.wait_for(reader.read(), 5)
    writer.close()


@pytest.mark.parametrize("data", [PLAIN, CHUNKED], ids=["length", "chunked"])
async def test_both_understand_a_plain_request(data: bytes) -> None:
    async with StrictOracle().running() as strict:
        with LenientOracle().running() as lenient:
            for oracle in (strict, lenient):
                await send(oracle.url, data)
                ((method, target, _, body),) = oracle.seen
                assert (method, target, body) == ("POST", "/a", b"hi")


async def test_a_hidden_request_is_seen_as_a_second_one() -> None:
    async with StrictOracle().running() as strict:
        await send(strict.url, HIDDEN)
    assert [seen.target for seen in strict.seen] == ["/a", "/b"]


async def test_what_is_no_request_is_an_error() -> None:
    async with StrictOracle().running() as strict:
        await send(strict.url, b"P\tOST / HTTP/1.1\r\n\r\n")
    assert (strict.seen, strict.errors) == ([], ["RemoteProtocolError"])
