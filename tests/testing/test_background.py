import asyncio
import socket

import pytest

from llmtrace.testing.background import LOOPBACK, Background, free_port, port_of


class Echo(Background):
    port = 0

    async def _open(self) -> list[asyncio.Server]:
        server = await asyncio.start_server(self._accept, LOOPBACK, self.port)
        self.port = port_of(server)
        return [server]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._spawn(self._echo(reader, writer))

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(100):
                writer.write(data)
        finally:
            writer.close()


def test_a_server_runs_from_start_to_stop() -> None:
    with Echo() as server, socket.create_connection((LOOPBACK, server.port), timeout=5) as client:
        client.sendall(b"ping")
        assert client.recv(10) == b"ping"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((LOOPBACK, server.port), timeout=5)


def test_a_port_that_is_taken_is_an_error() -> None:
    with Echo() as first:
        second = Echo()
        second.port = first.port
        with pytest.raises(OSError, match="address already in use"):
            second.start()
        second.stop()


def test_stopping_twice_is_harmless() -> None:
    server = Echo()
    server.start()
    server.stop()
    server.stop()


def test_a_free_port_can_be_had() -> None:
    with Echo() as taken:
        assert free_port() != taken.port


def test_a_free_port_is_none_that_a_connection_gets_by_itself() -> None:
    assert max(free_port() for _ in range(20)) < 32_768
