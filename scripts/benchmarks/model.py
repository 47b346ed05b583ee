"""The model by itself: how long it reads, beside a bare loop over the same network."""

import argparse
import asyncio
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from random import Random

import numpy as np
import onnxruntime
import report
from corpus import english
from modelgateway import through
from modelprocess import either
from report import Goal, Section
from sampling import quantile
from tokenizers import Tokenizer

from llmtrace.analyzers.base import Context
from llmtrace.analyzers.model import SHIPPED, ModelAnalyzer, read_manifest
from llmtrace.domain.parts import Role

TITLE = "Model"
HERE = Context(Role.USER)
SIZES = {"32 tokens": 32, "128 tokens": 128, "512 tokens": 512, "8,000 characters": 0}
MOST_MS = {"128 tokens": 7.0, "512 tokens": 35.0}
LEAST_SHARE = 0.8
MOST_LAG_MS = 5.0
LOADING = """
import re, time
from pathlib import Path


def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])


before, began = peak(), time.perf_counter()
from llmtrace.analyzers.model import SHIPPED, ModelAnalyzer, read_manifest
from llmtrace.analyzers.base import Context
model = ModelAnalyzer(read_manifest(SHIPPED))
model.inspect("What is the capital of Norway?", Context())
print(time.perf_counter() - began, peak() - before)
"""


class Bare:
    """ONNX Runtime and the tokenizer in a plain loop, without windows, views or entities."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            str(SHIPPED / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self.tokenizer = Tokenizer.from_file(str(SHIPPED / "tokenizer.json"))

    def __call__(self, text: str) -> None:
        """Read a text, in windows of 254 tokens that do not overlap."""
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        for at in range(0, len(ids), 254):
            row = np.array([[101, *ids[at : at + 254], 102]], dtype=np.int64)
            self.session.run(None, {"ids": row})


def texts(size: int, count: int, seed: int) -> Sequence[str]:
    """Return texts of so many tokens, or of 8,000 characters."""
    random = Random(seed)  # noqa: S311  # a corpus is no secret
    if not size:
        return [english(random, 8_000) for _ in range(count)]
    tokenizer = Tokenizer.from_file(str(SHIPPED / "tokenizer.json"))
    made = []
    for _ in range(count):
        text = english(random, size * 12)
        encoding = tokenizer.encode(text, add_special_tokens=False)
        made.append(text[: encoding.offsets[size - 1][1]])
    return made


def taken(read: Callable[[str], object], found: Sequence[str]) -> list[float]:
    """Return the processor time of each text, in milliseconds."""
    made = []
    for text in found:
        began = time.thread_time()
        read(text)
        made.append((time.thread_time() - began) * 1e3)
    return made


def reading(count: int) -> Section:
    """Measure single texts, the gateway's way and bare, in turns."""
    model, bare = ModelAnalyzer(read_manifest(SHIPPED)), Bare()
    rows, goals, shares = [], [], []
    for name, size in SIZES.items():
        found = texts(size, count, seed=7)
        taken(bare, found[:3])
        ours, plain = [], []
        for text in found:
            ours += taken(lambda text: model.inspect(text, HERE), [text])
            plain += taken(bare, [text])
        shares.append(quantile(plain, 0.5) / quantile(ours, 0.5))
        told = [f"{quantile(ours, q):.1f}" for q in (0.5, 0.95, 0.99)]
        rows.append([name, *told, f"{quantile(plain, 0.5):.1f}", f"{shares[-1]:.2f}"])
        if name in MOST_MS:
            median = quantile(ours, 0.5)
            goal = f"{name} in <= {MOST_MS[name]:.0f} ms on one thread"
            goals.append(Goal(goal, f"{median:.1f} ms", median <= MOST_MS[name]))
    least = min(shares)
    goals.append(Goal("texts/s >= 80 % of the bare loop's", f"{least:.0%}", least >= LEAST_SHARE))
    head = ["text", "median ms", "95th", "99th", "bare ms", "bare / ours"]
    note = f"{count} new texts of English each, one at a time. All times are processor time.\n"
    return Section("Reading", note, "\n" + report.table(head, rows), goals)


def loading(rounds: int) -> Section:
    """Measure how long it takes to load, and what it keeps."""
    seconds, kept = [], []
    for _ in range(rounds):
        done = subprocess.run(
            [sys.executable, "-c", LOADING], capture_output=True, check=True, text=True
        )
        took, size = done.stdout.split()
        seconds.append(float(took))
        kept.append(float(size) / 1024)
    rows = [[f"{quantile(seconds, 0.5):.2f}", f"{quantile(kept, 0.5):.0f}"]]
    note = f"A process of its own, medians of {rounds}, imports included.\n"
    table = report.table(["seconds to the first text", "MB more at most"], rows)
    return Section("Loading", note, "\n" + table)


def lag(seconds: float) -> Section:
    """Measure how late an event loop is while another thread reads without pause."""
    model = ModelAnalyzer(read_manifest(SHIPPED))
    found = texts(512, 20, seed=9)
    late = {busy: asyncio.run(_late(model, found, seconds, busy=busy)) for busy in (False, True)}
    rows = [
        ["reading" if busy else "idle", *(f"{quantile(one, q):.2f}" for q in (0.5, 0.95, 0.99))]
        for busy, one in late.items()
    ]
    more = quantile(late[True], 0.5) - quantile(late[False], 0.5)
    goal = Goal(
        "a loop beside it <= 5 ms later at the median", f"{more:.2f} ms", more <= MOST_LAG_MS
    )
    note = (
        "How late a timer of 5 ms fires, ms, beside one thread that reads 512 tokens at a time.\n"
    )
    table = report.table(["the model is", "median", "95th", "99th"], rows)
    return Section("Beside an event loop", note, "\n" + table, [goal])


async def _late(
    model: ModelAnalyzer, found: Sequence[str], seconds: float, *, busy: bool
) -> list[float]:
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            for text in found:
                if not stop.is_set():
                    model.inspect(text, HERE)

    thread = threading.Thread(target=read)
    if busy:
        thread.start()
    late = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.perf_counter()
        await asyncio.sleep(0.005)
        late.append((time.perf_counter() - began) * 1e3 - 5)
    stop.set()
    if busy:
        thread.join()
    return late


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(prog="scripts/bench model", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few seconds; writes nothing")
    quick = parser.parse_args().quick
    began = time.monotonic()
    sections = [
        reading(10 if quick else 60),
        loading(1 if quick else 5),
        lag(2 if quick else 10),
        either(texts, 1 if quick else 6),
        through(texts, Bare(), quick=quick),
    ]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sections[1].note += f"\nThis whole benchmark took {peak:.0f} MB at most.\n"
    report.publish(TITLE, sections, began, keep=not quick)


if __name__ == "__main__":
    main()
