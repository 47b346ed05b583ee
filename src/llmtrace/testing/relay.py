"""A proxy that takes every host to the scripted provider and reads nothing.

It is the other side of a comparison: what a client does behind this relay is what it does without
a gateway. TLS goes through untouched, so that clients must trust the provider's own CA.
"""

import asyncio
import base64
import contextlib
from dataclasses import dataclass
from typing import Final

from llmtrace.testing.background import LOOPBACK, Background, port_of
from llmtrace.testing.provider import ScriptedProvider

_MAX_HEAD: Final = 64 * 1024
_READ: Final = 256 * 1024
_TLS_HANDSHAKE: Final = 0x16
_HEAD_SECONDS: Final = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Tunnel:
    """One request to the relay: its method, its target, and the userinfo that came with it."""

    method: str
    target: str
    userinfo: str = ""


def _userinfo(head: str) -> str:
    for line in head.split("\r\n")[1:]:
        name, _, value = line.partition(":")
        if name.strip().lower() == "proxy-authorization":
            with contextlib.suppress(ValueError):
                return base64.b64decode(value.split()[-1]).decode("utf-8", "replace")
    return ""


class Relay(Background):
    """Listens on loopback; ``url`` is what ``HTTPS_PROXY`` and ``HTTP_PROXY`` take."""

    def __init__(self, provider: ScriptedProvider) -> None:
        super().__init__()
        self._provider = provider
        self.port = 0
        self.tunnels: list[Tunnel] = []

    @property
    def url(self) -> str:
        """The proxy's address, with a userinfo as a gateway's has one."""
        return f"http://run:token@{LOOPBACK}:{self.port}"

    async def _open(self) -> list[asyncio.Server]:
        server = await asyncio.start_server(self._accept, LOOPBACK, 0, limit=_MAX_HEAD)
        self.port = port_of(server)
        return [server]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._spawn(self._serve(reader, writer))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        errors = (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError)
        with contextlib.closing(writer), contextlib.suppress(*errors):
            raw = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _HEAD_SECONDS)
            head = raw.decode("latin-1")
            method, target, *_ = head.split(" ", 2)
            self.tunnels.append(Tunnel(method=method, target=target, userinfo=_userinfo(head)))
            if method != "CONNECT":
                await self._join(reader, writer, raw, self._provider.plain_port)
            else:
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                first = await reader.read(_READ)
                secure = first[:1] == bytes([_TLS_HANDSHAKE])
                port = self._provider.port if secure else self._provider.plain_port
                await self._join(reader, writer, first, port)

    @staticmethod
    async def _join(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first: bytes, port: int
    ) -> None:
        """Carry bytes both ways until either side ends."""
        there, back = await asyncio.open_connection(LOOPBACK, port)
        back.write(first)
        pumps = [
            asyncio.create_task(_pump(reader, back)),
            asyncio.create_task(_pump(there, writer)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            back.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_READ):
        writer.write(data)
        await writer.drain()
