"""A provider that costs next to nothing: fixed chat answers, whole or as a paced stream.

``provider.py [--cert FILE]`` prints the port it listens on and serves until it is ended.
"""

import argparse
import asyncio
import json
import ssl
import time

ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "All is well. " * 90},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 460, "completion_tokens": 270, "total_tokens": 730},
    }
).encode()
WHOLE = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nx-request-id: r\r\n"
    b"Content-Length: %d\r\n\r\n" % len(ANSWER)
) + ANSWER
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKS, PAUSE = 100, 0.005


class Provider(asyncio.Protocol):
    """Answers each request of a connection, in order."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.buffer = bytearray()
        self.length = -1

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while True:
            head = self.buffer.find(b"\r\n\r\n")
            if head < 0:
                return
            if self.length < 0:
                at = self.buffer.lower().find(b"content-length:", 0, head)
                end = self.buffer.find(b"\r", at)
                self.length = head + 4 + (int(self.buffer[at + 15 : end]) if at >= 0 else 0)
            if len(self.buffer) < self.length:
                return
            streamed = b'"stream": true' in self.buffer[: self.length]
            del self.buffer[: self.length]
            self.length = -1
            if streamed:
                asyncio.get_running_loop().create_task(self.stream())
            else:
                self.transport.write(WHOLE)

    async def stream(self) -> None:
        """Send paced chunks, each with the time it was sent."""
        self.transport.write(HEAD)
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number in range(CHUNKS):
            if self.transport.is_closing():
                return
            chunk = json.dumps(
                {
                    "id": "chatcmpl-1",
                    "object": "chat.completion.chunk",
                    "model": "gpt-4o-mini-2024-07-18",
                    "choices": [{"index": 0, "delta": {"content": f"word{number:04} "}}],
                    "sent": 0,
                }
            )
            chunk = chunk.replace('"sent": 0', f'"sent":{time.time_ns():019}')
            data = f"data: {chunk}\n\n".encode()
            self.transport.write(b"%x\r\n%s\r\n" % (len(data), data))
            await asyncio.sleep(max(0.0, began + (number + 1) * PAUSE - loop.time()))
        data = b"data: [DONE]\n\n"
        self.transport.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data))


async def serve(cert: str) -> None:
    """Listen on a free port of loopback and say which."""
    context = None
    if cert:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(cert)
    server = await asyncio.get_running_loop().create_server(
        Provider, "127.0.0.1", 0, ssl=context, backlog=1024
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cert", default="", help="PEM with key and certificate: serve TLS")
    asyncio.run(serve(parser.parse_args().cert))


if __name__ == "__main__":
    main()
