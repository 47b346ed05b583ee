"""A tool that changes between two calls of one agent, which two workers of a gateway take."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from llmtrace.testing.processes import GatewayProcess, children_of
from llmtrace.testing.provider import ScriptedProvider

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

SETTINGS = {
    "workers": 2,
    "mode": "enforce",
    "policy": {"rules": [{"name": "pull", "kinds": ["tool_changed"], "verdict": "block"}]},
    "security_analysis": {"ml_model": None},
}
BEFORE, AFTER = "Adds two numbers.", "Adds two numbers, and more."
MOST_CONNECTIONS = 100
"""The system deals connections out by chance: so many go to one of two workers once in 2 ** 99."""


@pytest.fixture
def gateway(provider: ScriptedProvider, tmp_path: Path) -> Iterator[GatewayProcess]:
    with GatewayProcess(tmp_path, provider, ["api.openai.com"], settings=SETTINGS) as running:
        yield running


def workers(gateway: GatewayProcess) -> set[int]:
    return {
        pid
        for pid in children_of(gateway.pid)
        if b"llmtrace.app.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    }


def until(what: Callable[[], bool]) -> None:
    ends = time.monotonic() + 60
    while not what():
        assert time.monotonic() < ends, "it did not happen in time"
        time.sleep(0.05)


class Connections:
    """Clients with one connection each, by the worker that has it."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self._gateway = gateway
        self._clients: list[httpx2.Client] = []

    def to(self, pid: int) -> httpx2.Client:
        """Return a client that this worker serves."""
        for _ in range(MOST_CONNECTIONS):
            before = _sockets(pid)
            client = httpx2.Client(base_url=self._gateway.reverse_url, trust_env=False, timeout=30)
            self._clients.append(client)
            client.get("/nowhere")  # the answer has been written: who serves it has the connection
            if _sockets(pid) - before:
                return client
        raise AssertionError(f"no connection went to worker {pid}")

    def close(self) -> None:
        for client in self._clients:
            client.close()


def _sockets(pid: int) -> set[str]:
    """Return the connections of a process to others on this machine, from its side."""
    links = set()
    for one in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            links.add(str(one.readlink()))
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    established = "01"
    return {row[2] for row in rows if row[3] == established and f"socket:[{row[9]}]" in links}


def call(client: httpx2.Client, description: str) -> int:
    """Offer the tool as it is described, and return the status of the answer."""
    body: dict[str, Any] = {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": "Hello."}],
        "tools": [{"type": "function", "function": {"name": "add", "description": description}}],
    }
    headers = {"authorization": "Bearer sk-1"}
    return client.post("/openai/v1/chat/completions", json=body, headers=headers).status_code


def test_a_changed_tool_is_refused_by_a_worker_that_never_saw_it(gateway: GatewayProcess) -> None:
    connections = Connections(gateway)
    first, second = sorted(workers(gateway))
    one, two = connections.to(first), connections.to(second)
    assert call(one, BEFORE) == 200
    assert call(two, AFTER) == 400
    assert call(two, BEFORE) == 200

    os.kill(second, signal.SIGKILL)
    until(lambda: len(workers(gateway) - {second}) == 2 and gateway._ready())
    (again,) = workers(gateway) - {first}
    assert call(connections.to(again), AFTER) == 400, "one that was started again knows it too"

    os.kill(gateway.pid, signal.SIGHUP)
    until(lambda: "all workers run with what was read" in gateway.log)
    until(lambda: len(workers(gateway)) == 2)
    third, fourth = sorted(workers(gateway))
    assert call(connections.to(third), AFTER) == 200, "a reload accepts it"
    assert call(connections.to(fourth), BEFORE) == 400
    connections.close()
