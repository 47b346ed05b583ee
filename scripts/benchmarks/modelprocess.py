"""The model in a thread of each worker, and in a process that workers could share."""

import asyncio
import multiprocessing
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection

from machine import rss_mb
from report import Section, table
from sampling import quantile

from llmtrace.analyzers.base import Context, Inspection
from llmtrace.analyzers.model import SHIPPED, ModelAnalyzer, read_manifest
from llmtrace.domain.parts import Role

HERE = Context(Role.USER)
NOTE = """\
The same texts in turns, wall time, while an event loop wakes every 5 ms: read in a thread of the
loop's process, or sent through a pipe to a process that has the model and answers one at a time.
"""

type Read = Callable[[str], Inspection]


def serve(pipe: Connection) -> None:
    """Read what comes through a pipe, until that is closed."""
    model = ModelAnalyzer(read_manifest(SHIPPED))
    try:
        while True:
            pipe.send(model.inspect(pipe.recv(), HERE))
    except EOFError:
        pipe.close()


async def beside_a_loop(read: Read, found: Sequence[str]) -> tuple[list[float], list[float]]:
    """Return the ms of each text, read in a thread, and those by which the loop woke late."""
    taken: list[float] = []
    done = threading.Event()

    def work() -> None:
        for text in found:
            began = time.perf_counter()
            read(text)
            taken.append((time.perf_counter() - began) * 1e3)
        done.set()

    late: list[float] = []
    working = asyncio.create_task(asyncio.to_thread(work))
    while not done.is_set():
        began = time.perf_counter()
        await asyncio.sleep(0.005)
        late.append((time.perf_counter() - began) * 1e3 - 5)
    await working
    return taken, late


def either(texts: Callable[[int, int, int], Sequence[str]], rounds: int) -> Section:
    """Read texts both ways, in turns. ``texts`` makes so many of so many tokens from a seed."""
    here = ModelAnalyzer(read_manifest(SHIPPED))
    fresh = multiprocessing.get_context("spawn")
    ours, theirs = fresh.Pipe()
    process = fresh.Process(target=serve, args=(theirs,), daemon=True)
    process.start()
    theirs.close()

    def through(text: str) -> Inspection:
        ours.send(text)
        made: Inspection = ours.recv()
        return made

    ways: dict[str, Read] = {
        "in a thread": lambda text: here.inspect(text, HERE),
        "through a pipe": through,
    }
    rows = []
    for tokens in (128, 512):
        taken: dict[str, tuple[list[float], list[float]]] = {way: ([], []) for way in ways}
        for number in range(rounds + 1):
            found = texts(tokens, 20, 70 + number)
            for way, read in ways.items():
                made = asyncio.run(beside_a_loop(read, found))
                if number:  # the first round warms both up
                    for kept, values in zip(taken[way], made, strict=True):
                        kept += values
        for way, (ms, late) in taken.items():
            shown = [f"{quantile(values, q):.2f}" for values in (ms, late) for q in (0.5, 0.99)]
            rows.append([f"{tokens} tokens, {way}", *shown])
    more = rss_mb(process.pid or 0)
    ours.close()
    process.join(10)
    head = ["", "ms a text, median", "99th", "loop late ms, median", "99th"]
    note = f"{NOTE}That process has {more:.0f} MB.\n"
    return Section("A process of its own", note, "\n" + table(head, rows))
