"""Runs the processes of a gateway: starts them, restarts them, drains them, says how they are.

No traffic passes here, so nothing that a client sends can bring the supervisor down.
"""

import asyncio
import contextlib
import json
import logging
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

logger = logging.getLogger(__name__)

KILL_SECONDS: Final = 5.0
"""What is left to a child between the end of its time and SIGKILL."""
ROLL_SECONDS: Final = 60.0
"""How long a new process may take to serve before the old one is kept."""
MAX_LINE_BYTES: Final = 64 * 1024
UNUSABLE: Final = 78
"""Exit code of a child that cannot work with its configuration (``EX_CONFIG`` of ``sysexits.h``):
to start it again would change nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A process to run. ``stdin`` is written to it at its start, and the pipe then stays open:
    a child whose standard input ends has lost its supervisor and should end as well.

    It says that it serves by a line ``{"ready": …}`` on its standard output, and how it is by
    lines ``{"status": {…}}``, of which the last one counts. Children of a
    lower ``stage`` are stopped before those of a higher one begin to be. One that ``rolls`` is
    reloaded by a new process that serves before the old one drains; others are told.
    """

    name: str
    argv: tuple[str, ...]
    stdin: bytes = b""
    stage: int = 0
    pass_fds: tuple[int, ...] = ()
    rolls: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """When a dead child is started again. Times in seconds.

    A child that dies within ``at_once`` of its start, ``give_up`` times in a row, will not
    live: the gateway ends, loudly.
    """

    first_delay: float = 0.5
    longest_delay: float = 30.0
    at_once: float = 10.0
    give_up: int = 5

    def delay(self, failures: int) -> float:
        """Return how long to wait after so many deaths in a row."""
        return float(min(self.longest_delay, self.first_delay * 2 ** max(failures - 1, 0)))


def own_module(name: str, *arguments: str) -> tuple[str, ...]:
    """Return the command that runs a module of ours.

    Without ``-P`` the folder that somebody is in would come first: a file ``h2.py`` in it would
    run in place of the package, in each process.
    """
    return (sys.executable, "-P", "-m", name, *arguments)


class State(StrEnum):
    """What a child is doing."""

    STARTING = "starting"
    READY = "ready"
    DEAD = "dead"
    """It died and waits to be started again."""
    STOPPED = "stopped"


@dataclass(slots=True, kw_only=True)
class Status:
    """How a child is. ``ready`` is what it said when it became ready, ``said`` its last status."""

    state: State = State.STARTING
    pid: int = 0
    restarts: int = 0
    ready: object = None
    said: Mapping[str, object] = field(default_factory=dict)


class _Runner:
    """Keeps one child alive until it is told to stop it."""

    def __init__(self, child: Child, policy: RestartPolicy, gave_up: Callable[[str], None]) -> None:
        self.child = child
        self.status = Status()
        self.changed = asyncio.Event()
        self._stdin = child.stdin
        self._policy = policy
        self.gave_up = gave_up
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._failures = 0

    async def run(self) -> None:
        """Start the child, and again whenever it dies."""
        while not self._stopping.is_set():
            started = time.monotonic()
            code = await self._live()
            if self._stopping.is_set():
                break
            lived = time.monotonic() - started
            self._failures = self._failures + 1 if lived < self._policy.at_once else 1
            self._set(State.DEAD)
            if code == UNUSABLE and self.status.ready is None:
                self.gave_up(f"{self.child.name} cannot be used as configured; it says why above")
                return
            if self._failures >= self._policy.give_up:
                self.gave_up(
                    f"{self.child.name} died {self._failures} times at once (exit code {code}); "
                    "its own messages above say why"
                )
                return
            delay = self._policy.delay(self._failures)
            logger.error("%s died (exit code %s); again in %.1f s", self.child.name, code, delay)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay)
            self.status.restarts += 1
        self._set(State.STOPPED)

    def _set(self, state: State) -> None:
        self.status.state = state
        self.changed.set()

    async def until_ready(self) -> None:
        """Wait until the child serves."""
        while self.status.state is not State.READY:
            self.changed.clear()
            await self.changed.wait()

    async def _live(self) -> int:
        """Run the child once, and return its exit code."""
        self._set(State.STARTING)
        try:
            process = await asyncio.create_subprocess_exec(
                *self.child.argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                pass_fds=self.child.pass_fds,
                process_group=0,  # Ctrl-C is for the supervisor, which drains
                limit=MAX_LINE_BYTES,
            )
        except OSError as error:
            logger.error("%s cannot be started: %s", self.child.name, error.strerror)
            return -1
        self._process = process
        self.status.pid = process.pid
        self.tell(self._stdin)
        if self._stopping.is_set():
            self.signal(signal.SIGTERM)
        try:
            await self._listen(process)
            return await process.wait()
        finally:
            self._process = None
            self.status.pid = 0

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        """Read what the child prints, to its end, so that it never blocks on us."""
        while process.stdout:
            try:
                line = await process.stdout.readline()
            except ValueError:
                continue  # a line over the bound
            if not line:
                return
            self._hear(line)

    def _hear(self, line: bytes) -> None:
        try:
            said = json.loads(line)
        except ValueError:
            return
        if not isinstance(said, dict):
            return
        if "ready" in said:
            self.status.ready = said["ready"]
            self._set(State.READY)
        if isinstance(said.get("status"), dict):
            self.status.said = said["status"]

    def tell(self, line: bytes) -> None:
        """Write to the child's standard input, and to that of those started after it."""
        self._stdin = line
        if self._process and self._process.stdin and line:
            with contextlib.suppress(OSError):
                self._process.stdin.write(line)

    def signal(self, number: signal.Signals) -> None:
        """Send the child a signal, if it runs."""
        if self._process and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def stop(self) -> None:
        """Ask the child to drain, and start it no more."""
        self._stopping.set()
        self.signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the child at once."""
        self._stopping.set()
        self.signal(signal.SIGKILL)


class Supervisor:
    """Keeps the children of a gateway alive until it is told to stop.

    Args:
        children: What to run.
        shutdown_seconds: How long children may drain, each stage of them, before they are
            killed.
        policy: When the dead are started again.
        reload: Called on SIGHUP, in a thread; returns the line that children are told on their
            standard input from now on. If it raises ValueError, all goes on as it was.
        started: Called once, when all children are ready for the first time.
    """

    def __init__(
        self,
        *,
        children: Sequence[Child],
        shutdown_seconds: float,
        policy: RestartPolicy | None = None,
        reload: Callable[[], bytes] | None = None,
        started: Callable[[], None] = lambda: None,
    ) -> None:
        self._policy = policy or RestartPolicy()
        self._runners = [_Runner(child, self._policy, self._give_up) for child in children]
        self._tasks: dict[_Runner, asyncio.Task[None]] = {}
        self._rolling = asyncio.Lock()
        self._jobs: set[asyncio.Task[None]] = set()
        self._shutdown_seconds = shutdown_seconds
        self._reload = reload
        self._started = started
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._exit_code = 0

    def status(self) -> Mapping[str, Status]:
        """Return how each child is, by name."""
        return {runner.child.name: runner.status for runner in self._runners}

    def health(self) -> tuple[int, Mapping[str, object]]:
        """Return 200 when all children are ready, else 503 and which are not."""
        missing = [name for name, s in self.status().items() if s.state is not State.READY]
        children = {
            name: {"state": s.state.value, "restarts": s.restarts}
            for name, s in self.status().items()
        }
        if self._stop.is_set():
            return 503, {"status": "draining", "children": children}
        if missing:
            return 503, {"status": "unavailable", "not_ready": missing, "children": children}
        return 200, {"status": "ok", "children": children}

    async def run(self) -> int:
        """Run until SIGTERM or SIGINT, and return the exit code.

        0 after a drain; 1 if a child would not live, or had to be killed.
        """
        self._catch_signals()
        for runner in self._runners:
            self._tasks[runner] = asyncio.create_task(runner.run())
        self._do(self._announce())
        try:
            await self._stop.wait()
            await self._drain()
        finally:
            for job in self._jobs:
                job.cancel()
            for runner in self._tasks:
                runner.kill()
            await asyncio.gather(*self._tasks.values(), *self._jobs, return_exceptions=True)
        return self._exit_code

    def _do(self, work: Coroutine[None, None, None]) -> None:
        job = asyncio.create_task(work)
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)

    def stop(self) -> None:
        """Drain and end; called a second time, end at once."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    def reload(self) -> None:
        """Have the children read their configuration anew. Reloads follow one another."""
        self._do(self._reloading())

    async def _reloading(self) -> None:
        async with self._rolling:
            try:
                line = await asyncio.to_thread(self._reload) if self._reload else b""
            except ValueError as error:
                logger.error("the configuration stays as it was: %s", error)
                return
            for runner in self._runners:
                if not runner.child.rolls:
                    runner.tell(line)
                    runner.signal(signal.SIGHUP)
            await self._roll(line)

    async def _roll(self, line: bytes) -> None:
        """Replace the children that roll, one after the other: the new serves, the old drains."""
        for old in [runner for runner in self._runners if runner.child.rolls]:
            child = replace(old.child, stdin=line or old.child.stdin)
            if self._stop.is_set() or not await self._replace(old, child):
                return
        logger.info("all workers run with what was read")

    async def _replace(self, old: _Runner, child: Child) -> bool:
        failed = asyncio.Event()
        new = _Runner(child, self._policy, lambda _message: failed.set())
        self._tasks[new] = asyncio.create_task(new.run())
        ready, dead = (asyncio.create_task(w) for w in (new.until_ready(), failed.wait()))
        await asyncio.wait({ready, dead}, timeout=ROLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        served = ready.done()
        ready.cancel()
        dead.cancel()
        if not served:
            logger.error("%s does not start with what was read; all stays as it was", child.name)
            new.kill()
            await self._tasks.pop(new)
            return False
        new.gave_up = self._give_up
        self._runners[self._runners.index(old)] = new
        self._do(self._retire(old))
        return True

    async def _retire(self, old: _Runner) -> None:
        old.stop()
        if not await self._ended([self._tasks[old]], self._shutdown_seconds):
            logger.error("%s did not drain in time and is killed", old.child.name)
            old.kill()
        await self._tasks.pop(old)

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self.reload)
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # inherited: children log to our terminal

    def _give_up(self, message: str) -> None:
        logger.critical("%s", message)
        self._exit_code = 1
        self._stop.set()

    async def _announce(self) -> None:
        for runner in self._runners:
            await runner.until_ready()
        self._started()

    async def _drain(self) -> None:
        """Stop the children stage by stage, each with its own time."""
        for stage in sorted({runner.child.stage for runner in self._tasks}):
            members = [(r, t) for r, t in self._tasks.items() if r.child.stage == stage]
            for runner, _ in members:
                runner.stop()
            if await self._ended([task for _, task in members], self._shutdown_seconds):
                continue
            self._exit_code = 1
            for runner, task in members:
                if not task.done():
                    logger.error("%s did not drain in time and is killed", runner.child.name)
                    runner.kill()
            await self._ended([task for _, task in members], KILL_SECONDS)

    async def _ended(self, tasks: Sequence[asyncio.Task[None]], seconds: float) -> bool:
        """Wait for tasks to end, until the time is over or we are hurried."""
        hurry = asyncio.create_task(self._hurry.wait())
        all_done = asyncio.create_task(asyncio.wait(tasks))
        await asyncio.wait([hurry, all_done], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        all_done.cancel()
        return all(task.done() for task in tasks)
