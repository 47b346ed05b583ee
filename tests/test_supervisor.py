import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from llmtrace.supervisor import UNUSABLE, Child, RestartPolicy, State, Supervisor, own_module

SERVE = """
import json, os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("noise", flush=True)
print(json.dumps({"ready": {"said": sys.stdin.readline().strip()}}), flush=True)
while True:
    signal.pause()
"""
STUBBORN = SERVE.replace("lambda *_: sys.exit(0)", "signal.SIG_IGN")
SLOW_DRAIN = SERVE.replace("lambda *_: sys.exit(0)", "lambda *_: (time.sleep(0.3), sys.exit(0))")
RELOADING = (
    SERVE.replace("while True:\n    signal.pause()", "")
    + """
def reload(*_):
    print(json.dumps({"ready": {"said": sys.stdin.readline().strip()}}), flush=True)
signal.signal(signal.SIGHUP, reload)
while True:
    signal.pause()
"""
)
NEVER_READY = "import sys; sys.stdin.read()"
DIES = "raise SystemExit(7)"
SERVE_AND_END = SERVE.replace("while True:\n    signal.pause()", f"sys.exit({UNUSABLE})")
FAST = RestartPolicy(first_delay=0.01, longest_delay=0.02)


def python(name: str, code: str, stdin: bytes = b"hello\n", **more: Any) -> Child:
    argv = (sys.executable, "-I", "-S", "-c", "import time\n" + code)
    return Child(name=name, argv=argv, stdin=stdin, **more)


class Running:
    """A supervisor that runs in this loop, without its signal handlers."""

    def __init__(self, *children: Child, **options: Any) -> None:
        self.ready = asyncio.Event()
        usual: dict[str, Any] = {"shutdown_seconds": 5.0, "policy": FAST, "started": self.ready.set}
        self.supervisor = Supervisor(children=children, **(usual | options))
        self.task = asyncio.create_task(self.supervisor.run())

    async def wait_ready(self) -> None:
        await asyncio.wait_for(self.ready.wait(), 10)

    async def end(self) -> int:
        return await asyncio.wait_for(self.task, 15)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110  # another process is waited for
                await asyncio.sleep(0.01)


@pytest.fixture
async def start() -> AsyncIterator[Callable[..., Running]]:
    running: list[Running] = []

    def begin(*children: Child, **options: Any) -> Running:
        running.append(Running(*children, **options))
        return running[-1]

    yield begin
    for one in running:
        if not one.task.done():
            one.supervisor.stop()
            one.supervisor.stop()
            await one.end()


async def test_children_are_told_on_stdin_and_ready_when_they_say_so(start: Any) -> None:
    gateway = start(python("worker-0", SERVE), python("recorder", SERVE, stage=1))
    assert gateway.supervisor.health()[0] == 503
    await gateway.wait_ready()
    status = gateway.supervisor.status()
    assert {s.state for s in status.values()} == {State.READY}
    assert status["worker-0"].ready == {"said": "hello"}
    assert gateway.supervisor.health()[0] == 200
    gateway.supervisor.stop()
    assert gateway.supervisor.health()[0] == 503
    assert await gateway.end() == 0


async def test_child_that_is_not_ready_is_named(start: Any) -> None:
    gateway = start(python("worker-0", SERVE), python("recorder", NEVER_READY))
    await gateway.until(lambda: gateway.supervisor.status()["worker-0"].state is State.READY)
    code, said = gateway.supervisor.health()
    assert code == 503
    assert said["not_ready"] == ["recorder"]


async def test_dead_child_is_started_again(start: Any, caplog: pytest.LogCaptureFixture) -> None:
    gateway = start(python("worker-0", SERVE))
    await gateway.wait_ready()
    status = gateway.supervisor.status()["worker-0"]
    first = status.pid
    os.kill(first, signal.SIGKILL)
    await gateway.until(lambda: status.restarts == 1 and status.state is State.READY)
    assert status.pid != first
    assert "worker-0 died (exit code -9)" in caplog.text


async def test_child_that_will_not_live_ends_the_gateway_loudly(
    start: Any, caplog: pytest.LogCaptureFixture
) -> None:
    gateway = start(python("worker-0", DIES), python("recorder", SERVE))
    assert await gateway.end() == 1
    assert "worker-0 died 5 times at once (exit code 7)" in caplog.text


async def test_program_that_is_not_there_ends_the_gateway_loudly(
    start: Any, caplog: pytest.LogCaptureFixture
) -> None:
    gateway = start(Child(name="worker-0", argv=("/nonexistent/program",)))
    assert await gateway.end() == 1
    assert "cannot be started" in caplog.text


async def test_drain_waits_for_children_and_ends_with_0(start: Any) -> None:
    gateway = start(python("worker-0", SLOW_DRAIN))
    await gateway.wait_ready()
    gateway.supervisor.stop()
    assert await gateway.end() == 0


async def test_later_stage_is_stopped_after_the_earlier_one_has_ended(
    start: Any, tmp_path: Path
) -> None:
    def noting(name: str, seconds: float) -> str:
        note = f"open({str(tmp_path / 'ended')!r}, 'a').write('{name} ')"
        return SERVE.replace("sys.exit(0)", f"(time.sleep({seconds}), {note}, sys.exit(0))")

    worker = python("worker-0", noting("worker-0", 0.2))
    recorder = python("recorder", noting("recorder", 0), stage=1)
    gateway = start(recorder, worker)
    await gateway.wait_ready()
    gateway.supervisor.stop()
    assert await gateway.end() == 0
    assert (tmp_path / "ended").read_text() == "worker-0 recorder "


async def test_child_that_does_not_drain_in_time_is_killed(
    start: Any, caplog: pytest.LogCaptureFixture
) -> None:
    gateway = start(python("worker-0", STUBBORN), shutdown_seconds=0.1)
    await gateway.wait_ready()
    gateway.supervisor.stop()
    assert await gateway.end() == 1
    assert "worker-0 did not drain in time" in caplog.text


async def test_second_signal_ends_at_once(start: Any) -> None:
    gateway = start(python("worker-0", STUBBORN), shutdown_seconds=60.0)
    await gateway.wait_ready()
    os.kill(os.getpid(), signal.SIGTERM)
    await gateway.until(lambda: gateway.supervisor.health()[1]["status"] == "draining")
    os.kill(os.getpid(), signal.SIGINT)
    assert await gateway.end() == 1


async def test_stop_before_anything_is_ready_ends_with_0(start: Any) -> None:
    gateway = start(python("worker-0", NEVER_READY))
    await asyncio.sleep(0)
    gateway.supervisor.stop()
    assert await gateway.end() == 0


async def test_reload_tells_the_children_the_new_configuration(start: Any) -> None:
    gateway = start(python("worker-0", RELOADING), reload=lambda: b"new\n")
    await gateway.wait_ready()
    status = gateway.supervisor.status()["worker-0"]
    await asyncio.sleep(0.05)  # the child installs its handler after it said ready
    os.kill(os.getpid(), signal.SIGHUP)
    await gateway.until(lambda: status.ready == {"said": "new"})
    os.kill(status.pid, signal.SIGKILL)
    await gateway.until(lambda: status.restarts == 1 and status.state is State.READY)
    assert status.ready == {"said": "new"}


async def test_a_child_that_rolls_is_replaced_before_it_drains(start: Any) -> None:
    gateway = start(
        python("worker-0", SLOW_DRAIN, rolls=True),
        python("worker-1", SLOW_DRAIN, rolls=True),
        reload=lambda: b"new\n",
    )
    await gateway.wait_ready()
    before = {name: s.pid for name, s in gateway.supervisor.status().items()}
    gateway.supervisor.reload()
    lowest = 200
    async with asyncio.timeout(10):
        while {s.pid for s in gateway.supervisor.status().values()} & set(before.values()):
            lowest = max(lowest, gateway.supervisor.health()[0])
            await asyncio.sleep(0.01)
    status = gateway.supervisor.status()
    assert lowest == 200
    assert [s.ready for s in status.values()] == [{"said": "new"}] * 2
    gateway.supervisor.stop()
    assert await gateway.end() == 0


async def test_a_child_that_does_not_start_anew_stays_as_it_was(start: Any) -> None:
    picky = "import sys\nif sys.stdin.readline() == 'new\\n': sys.exit(3)\n" + SERVE.replace(
        "sys.stdin.readline().strip()", "'old'"
    )
    gateway = start(python("worker-0", picky, rolls=True), reload=lambda: b"new\n")
    await gateway.wait_ready()
    pid = gateway.supervisor.status()["worker-0"].pid
    await asyncio.wait_for(gateway.supervisor._roll(b"new\n"), 10)
    status = gateway.supervisor.status()["worker-0"]
    assert (status.pid, status.state) == (pid, State.READY)
    gateway.supervisor.stop()
    assert await gateway.end() == 0


async def test_a_child_that_cannot_be_used_as_configured_is_started_once(
    start: Any, caplog: pytest.LogCaptureFixture
) -> None:
    gateway = start(python("worker-0", f"raise SystemExit({UNUSABLE})"))
    assert await gateway.end() == 1
    assert gateway.supervisor.status()["worker-0"].restarts == 0
    assert "worker-0 cannot be used as configured; it says why above" in caplog.text


async def test_a_child_that_has_served_is_started_again_whatever_it_ends_with(start: Any) -> None:
    gateway = start(python("worker-0", SERVE_AND_END))
    status = gateway.supervisor.status()["worker-0"]
    await gateway.until(lambda: status.restarts >= 2)


async def test_bad_configuration_changes_nothing(
    start: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def bad() -> bytes:
        raise ValueError("listen: not an address")

    gateway = start(python("worker-0", SERVE), reload=bad)
    await gateway.wait_ready()
    gateway.supervisor.reload()
    said = "the configuration stays as it was: listen: not an address"
    await gateway.until(lambda: said in caplog.text)
    assert gateway.supervisor.health()[0] == 200


async def test_endless_line_of_a_child_is_no_harm(start: Any) -> None:
    flood = "print('x' * 300_000, flush=True)\n" + SERVE
    gateway = start(python("worker-0", flood))
    await gateway.wait_ready()


async def test_a_child_shares_our_session_and_not_our_ctrl_c(start: Any, tmp_path: Path) -> None:
    """One session, or the scheduler would give each child as much as all the others together."""
    tells = (
        "import os, pathlib, signal\n"
        "alone = os.getpgrp() == os.getpid(), os.getsid(0)\n"
        "logs = signal.getsignal(signal.SIGTTOU) is signal.SIG_IGN\n"
        f"pathlib.Path({str(tmp_path / 'told')!r}).write_text(repr((*alone, logs)))\n"
    )
    gateway = start(python("worker-0", tells + SERVE))
    await gateway.wait_ready()
    assert (tmp_path / "told").read_text() == repr((True, os.getsid(0), True))


def test_delay_doubles_up_to_its_bound() -> None:
    policy = RestartPolicy(first_delay=1, longest_delay=5)
    assert [policy.delay(n) for n in range(6)] == [1, 1, 2, 4, 5, 5]


def test_a_file_where_somebody_works_runs_in_no_process_of_ours(tmp_path: Path) -> None:
    (tmp_path / "this.py").write_text("print('of the folder')")
    done = subprocess.run(  # noqa: S603  # our own interpreter
        own_module("this"), cwd=tmp_path, env={}, capture_output=True, text=True, check=True
    )
    assert "The Zen of Python" in done.stdout
