import asyncio
import json
from pathlib import Path

from llmtrace.api.health import HealthServer
from llmtrace.app.api import routes_of
from llmtrace.app.settings import Settings
from llmtrace.app.stores import open_storage
from llmtrace.config import Config
from llmtrace.environment.home import Home
from llmtrace.storage.registry import close
from llmtrace.testing.records import a_record


async def get(port: int, path: str, extra: str = "") -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{extra}\r\n".encode())
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


async def test_costs_are_served_to_this_machine_alone(tmp_path: Path) -> None:
    settings = Settings(config=Config(), home=Home(tmp_path))
    settings.prepare()
    storage = open_storage(settings)
    storage.traces.put([a_record(1)])
    close(storage)
    server = HealthServer(
        health=lambda: (200, {}), host="127.0.0.1", port=0, routes=routes_of(settings)
    )
    path = "/api/v1/costs/current?since=2020-01-01"
    status, _ = await get(server.port, path)
    assert status == 403  # under another name
    status, _ = await get(server.port, path, "Authorization: Bearer llmt_x\r\n")
    assert status == 401
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    _, _, body = (await asyncio.wait_for(reader.read(), 5)).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    await server.stop()
    assert json.loads(body)["costs"][0]["agent"] == "builder"
