"""Memory over many calls, and what survives when processes are killed."""

import asyncio
import os
import random
import signal
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field

from calls import BARE, WHOLE, Field
from load import payload
from machine import ALL_CORES, pin, rss_mb
from report import Goal, Section, table
from targets import Ours

PER_SECOND, ROUND_SECONDS, PATIENCE = 50, 1.6, 15.0
WARM_CALLS = 2_000


def memory(at: Field) -> Section:
    """Resident memory of each process over many calls."""
    rows: list[list[str]] = []
    goals: list[Goal] = []
    for which, gateway in ((BARE, at.bare), (WHOLE, at.one)):
        seen = _resident(at, gateway)
        worker = seen["worker-0"]
        growth, most = max(worker) - worker[0], max(worker)
        rows += [[which, name, *(f"{mb:.0f}" for mb in all_mb)] for name, all_mb in seen.items()]
        flat = f"{which}: worker flat within 20 MB over {at.effort.calls:,} calls"
        goals += [
            Goal(flat, f"{growth:+.1f} MB", growth <= 20),
            Goal(f"{which}: ≤ 120 MB for each worker", f"{most:.0f} MB", most <= 120),
        ]
    head = ["", "MB resident", "after warm-up"]
    head += [f"+{at.effort.calls * i // 5:,}" for i in range(1, 6)]
    note = f"{WARM_CALLS:,} calls before the first figure; 16 connections, 2 KB prompts."
    return Section(f"Memory over {at.effort.calls:,} calls", note, "\n" + table(head, rows), goals)


def _resident(at: Field, gateway: Ours) -> dict[str, list[float]]:
    """Make the calls, and return what each process had before and in between, in MB."""
    target = gateway.targets("LLMTrace")["reverse"]
    pin(target.pids, ALL_CORES)
    pids = gateway.processes()
    take = at.taker(pinned=False, connections=16, calls=at.effort.calls // 5, seconds=120)
    at.taker(pinned=False, connections=16, calls=WARM_CALLS, seconds=60)(target)
    seen = {name: [rss_mb(pid)] for name, pid in pids.items()}
    for _ in range(5):
        take(target)
        for name, pid in pids.items():
            seen[name].append(rss_mb(pid))
    return seen


@dataclass
class Tally:
    """What clients saw: how many calls were sent, and which answers they had whole."""

    sent: int = 0
    broken: int = 0
    ended: list[str] = field(default_factory=list)


async def one_call(port: int, body: bytes, tally: Tally) -> None:
    """Make one call on a connection of its own, and note its id if its end was seen."""
    tally.sent += 1
    head = (
        f"POST /openai/v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        "Content-Type: application/json\r\nAuthorization: Bearer sk-benchmark-000000\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    writer = None
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head.encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            fields = dict(
                line.split(": ", 1) for line in answer.decode("latin-1").split("\r\n")[1:] if line
            )
            fields = {name.lower(): value for name, value in fields.items()}
            if "content-length" in fields:
                await reader.readexactly(int(fields["content-length"]))
            else:
                await reader.readuntil(b"0\r\n\r\n")
            if answer.startswith(b"HTTP/1.1 200"):
                tally.ended.append(fields["x-llmtrace-trace-id"])
            else:
                tally.broken += 1
    except (OSError, TimeoutError, asyncio.IncompleteReadError, KeyError):
        tally.broken += 1
    finally:
        if writer:
            writer.close()


async def one_round(gateway: Ours, victims: Sequence[int], after: float, tally: Tally) -> None:
    """Send calls at a steady rate, every second one streamed, and kill in their midst."""
    if gateway.gateway is None or gateway.gateway.addresses.reverse is None:
        raise RuntimeError("the gateway is not started")
    port = int(gateway.gateway.addresses.reverse.rpartition(":")[2])
    bodies = [payload(2_048, stream) for stream in (False, True)]
    loop = asyncio.get_running_loop()
    began = loop.time()
    killing = loop.call_later(after, kill, victims)
    async with asyncio.TaskGroup() as group:
        for number in range(int(PER_SECOND * ROUND_SECONDS)):
            group.create_task(one_call(port, bodies[number % 2], tally))
            await asyncio.sleep(max(0.0, began + (number + 1) / PER_SECOND - loop.time()))
    killing.cancel()


def kill(victims: Sequence[int]) -> None:
    """Kill processes at once, as the kernel does when memory runs out."""
    for pid in victims:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def await_children(gateway: Ours, names: Sequence[str]) -> None:
    """Wait until all processes of a gateway run again. Raises: TimeoutError."""
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        if gateway.healthy() and set(gateway.processes()) >= set(names):
            return
        time.sleep(0.1)
    raise TimeoutError("the gateway did not get well after a kill")


def kills(at: Field, seed: int) -> Section:
    """Kill workers, the recorder, or everything, at random moments under load."""
    chance = random.Random(seed)  # noqa: S311  # moments, not secrets
    gateway, tally, died = at.two, Tally(), {"worker": 0, "recorder": 0, "all": 0}
    names = list(gateway.processes())
    gateway.stop()  # what was measured before is in the store by then
    before = _rows(gateway)
    gateway.start()
    await_children(gateway, names)
    for number in range(at.effort.kills):
        pids = gateway.processes()
        kind = {3: "recorder", 4: "all"}.get(number % 5, "worker")
        workers = [name for name in names if name.startswith("worker")]
        chosen = {"worker": [chance.choice(workers)], "recorder": ["recorder"], "all": names}[kind]
        died[kind] += 1
        after = chance.uniform(0.3, ROUND_SECONDS - 0.2)
        asyncio.run(one_round(gateway, [pids[name] for name in chosen], after, tally))
        if kind == "all":
            gateway.stop()
            gateway.start()
        await_children(gateway, names)
    gateway.stop()
    return _killed(gateway, tally, died, before, seed)


def _rows(gateway: Ours) -> int:
    with closing(sqlite3.connect(f"file:{gateway.database}?mode=ro", uri=True)) as database:
        count: int = database.execute("select count(*) from traces").fetchone()[0]
        return count


def _killed(gateway: Ours, tally: Tally, died: dict[str, int], before: int, seed: int) -> Section:
    with closing(sqlite3.connect(f"file:{gateway.database}?mode=ro", uri=True)) as database:
        stored = [row[0] for row in database.execute("select trace_id from traces")]
        final = {r[0] for r in database.execute(FINAL)}
    lost = set(tally.ended) - final
    twice = len(stored) - len(set(stored)) + max(0, len(stored) - before - tally.sent)
    rows = [
        ["rounds: a worker / the recorder / everything", " / ".join(map(str, died.values()))],
        ["calls sent", f"{tally.sent:,}"],
        ["answers whose end the client saw", f"{len(tally.ended):,}"],
        ["calls that broke", f"{tally.broken:,}"],
        ["new traces in the store", f"{len(stored) - before:,}"],
    ]
    goals = [
        Goal("kill -9: acknowledged calls lost", str(len(lost)), not lost and bool(tally.ended)),
        Goal("kill -9: duplicates", str(twice), not twice),
    ]
    note = (
        f"{PER_SECOND} calls/s, every second one streamed, two workers; SIGKILL at a random moment "
        f"of each round (seed {seed}). A call is *acknowledged* when its client saw the end of a "
        "200 answer; it must then be in the store as ended. Duplicates are trace ids that stand "
        "twice, and traces above the number of calls sent."
    )
    return Section("kill -9 under load", note, "\n" + table(["", ""], rows), goals)


FINAL = "select trace_id from traces where outcome not in ('pending', 'interrupted')"
