"""Kills the writer and the recorder with SIGKILL, again and again, while calls go through."""

import random
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llmtrace.domain.traces import Outcome
from llmtrace.storage.base import TraceQuery
from llmtrace.storage.recorder import catch_up, read_status
from llmtrace.storage.registry import build, close

WRITER = """
import os, random, sys
from dataclasses import replace
from pathlib import Path
from llmtrace.domain.ids import new_trace_id
from llmtrace.domain.traces import Body, Outcome
from llmtrace.storage.spool import SpoolWriter
from llmtrace.testing.records import a_record
writer = SpoolWriter(Path(sys.argv[1]), "w1", segment_bytes=256 << 10, min_free_bytes=0)
while True:
    record = a_record()
    trace = replace(record.trace, trace_id=new_trace_id())
    os.write(1, f"began {trace.trace_id}\\n".encode())
    writer.start(replace(trace, outcome=Outcome.PENDING), Body(content=os.urandom(2000)))
    os.write(1, f"started {trace.trace_id}\\n".encode())
    writer.sent(trace.trace_id)
    answer = Body(content=os.urandom(random.randint(10, 60_000)))
    writer.end(replace(record, trace=trace, request=None, answer=answer))
    os.write(1, f"ended {trace.trace_id}\\n".encode())
"""
RECORDER = """
import sys
from pathlib import Path
from llmtrace.storage.recorder import Recorder, run_until_signal
from llmtrace.storage.registry import build
open_storage = lambda: build("lite", database_path=Path(sys.argv[2]))
run_until_signal(Recorder(Path(sys.argv[1]), open_storage, tick=0.01))
"""


def kill_loop(root: Path, rounds: int, seed: int) -> None:
    spool, database = root / "spool", root / "llmtrace.db"
    close(build("lite", database_path=database))
    told: dict[str, set[str]] = {"began": set(), "started": set(), "ended": set()}
    rng = random.Random(seed)  # noqa: S311
    for _ in range(rounds):
        for word, trace_id in one_round(spool, database, rng):
            told[word].add(trace_id)
    storage = build("lite", database_path=database)
    catch_up(spool, storage)
    traces = storage.traces.query(TraceQuery(limit=10**6))
    outcomes = {trace.trace_id: trace.outcome for trace in traces}
    assert len(outcomes) == len(traces)
    assert told["ended"] <= {key for key, outcome in outcomes.items() if outcome is Outcome.OK}
    assert told["started"] <= outcomes.keys() <= told["began"]
    assert set(outcomes.values()) <= {Outcome.OK, Outcome.INTERRUPTED}
    assert len(told["ended"]) > 10 * rounds
    for trace_id in sorted(told["ended"])[::50]:
        body = storage.traces.body(trace_id, "request")
        assert body is not None
        assert len(body.content) == 2000
    close(storage)
    with sqlite3.connect(database) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    assert [path.name for path in spool.iterdir() if path.is_dir()] == []


def one_round(spool: Path, database: Path, rng: random.Random) -> list[tuple[str, str]]:
    recorder = subprocess.Popen([sys.executable, "-c", RECORDER, str(spool), str(database)])  # noqa: S603
    writer = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", WRITER, str(spool)], stdout=subprocess.PIPE
    )
    try:
        assert writer.stdout is not None
        first = writer.stdout.readline()
        deadline = time.monotonic() + 30
        while read_status(spool) is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(rng.uniform(0.05, 0.3))
        for victim in rng.sample([writer, recorder], 2):
            victim.kill()
            time.sleep(rng.choice([0, 0.05]))
        said = first + writer.stdout.read()
        writer.stdout.close()
    finally:
        for process in (writer, recorder):
            process.kill()
            process.wait()
    lines = [line.split() for line in said.decode().splitlines()]
    return [(line[0], line[1]) for line in lines if len(line) == 2]


def test_what_was_acknowledged_before_a_kill_is_stored_once(tmp_path: Path) -> None:
    kill_loop(tmp_path, rounds=2, seed=1)


@pytest.mark.slow
def test_twenty_kills_lose_nothing(tmp_path: Path) -> None:
    kill_loop(tmp_path, rounds=20, seed=2)
