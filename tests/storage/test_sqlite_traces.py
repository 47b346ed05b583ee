"""What SQLite adds; the promises in common are in the conformance suite."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from llmtrace.domain.traces import Body, Record, Texts
from llmtrace.storage.base import StorageCorrupt, StorageUnavailable, TraceQuery
from llmtrace.storage.sqlite_file import SqliteFile
from llmtrace.storage.sqlite_pieces import Packer
from llmtrace.storage.sqlite_traces import SqliteTraceRepository
from llmtrace.testing.records import NOON, a_finding, a_record, a_trace, numbered_id

HOURS = timedelta(hours=1)
CONTENT = {"bodies", "pieces", "texts"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "llmtrace.db"


@pytest.fixture
def file(path: Path) -> SqliteFile:
    return SqliteFile(path, busy_timeout_ms=20)


@pytest.fixture
def store(file: SqliteFile) -> Iterator[SqliteTraceRepository]:
    opened = SqliteTraceRepository(file)
    yield opened
    opened.close()


def rows(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(sql).fetchall()


def number_of(path: Path, table: str) -> object:
    return rows(path, f"SELECT count(*) FROM {table}")[0][0]  # noqa: S608  # our own tables


def test_lists_and_sums_never_touch_what_was_said(
    store: SqliteTraceRepository, file: SqliteFile
) -> None:
    store.put([a_record(number, findings=(a_finding("x"),)) for number in range(60)])
    read: set[str] = set()

    def watch(action: int, table: str | None, *_: object) -> int:
        if action == sqlite3.SQLITE_READ and table:
            read.add(table)
        return sqlite3.SQLITE_OK

    with file.reading() as db:
        db.set_authorizer(watch)
    for query in (TraceQuery(), TraceQuery(tenant="acme", since=NOON, limit=9)):
        store.query(query)
        store.totals(query)
    store.get(numbered_id(1))
    assert read == {"traces", "findings"}
    read.clear()
    store.body(numbered_id(1), "request")
    assert read >= {"bodies", "pieces"}


def conversation(turns: int) -> list[bytes]:
    """Request bodies of a coding agent that sends everything again on every turn."""
    tools = [{"name": f"tool{n}", "description": _prose(n, 60)} for n in range(10)]
    messages: list[dict[str, object]] = [{"role": "system", "content": _prose(-1, 300)}]
    bodies = []
    for turn in range(turns):
        messages.append({"role": "user", "content": _prose(3 * turn, 60)})
        sent = {"model": "gpt-5", "messages": messages, "tools": tools, "user": f"turn-{turn}"}
        bodies.append(json.dumps(sent).encode())
        call = {"id": f"call_{turn}", "function": {"name": "read", "arguments": '{"n": 1}'}}
        messages.append(
            {"role": "assistant", "content": _prose(3 * turn + 1, 50), "tool_calls": [call]}
        )
        messages.append(
            {"role": "tool", "tool_call_id": f"call_{turn}", "content": _prose(3 * turn + 2, 150)}
        )
    return bodies


def _prose(seed: int, words: int) -> str:
    state = seed * 7_919 + 12_345
    found = []
    for _ in range(words):
        state = (state * 1_103_515_245 + 12_345) & 0x7FFFFFFF
        found.append(f"w{state % 4_001:x}")
    return " ".join(found)


def _stored(path: Path, bodies: Sequence[bytes]) -> int:
    """Bytes that the bodies take, keys and recipes included, after each came back as it was."""
    store = SqliteTraceRepository(SqliteFile(path))
    for turn, body in enumerate(bodies):
        store.put([Record(trace=a_trace(turn), request=Body(content=body))])
    for turn, body in enumerate(bodies):
        assert store.body(numbered_id(turn), "request") == Body(content=body)
    store.close()
    ((size,),) = rows(
        path,
        "SELECT (SELECT sum(length(content) + length(digest) + 12) FROM pieces) + "
        "(SELECT sum(length(recipe) + length(digest) + 24) FROM bodies)",
    )
    assert isinstance(size, int)
    return size


def test_a_conversation_of_a_hundred_turns_is_about_its_last_turn(tmp_path: Path) -> None:
    bodies = conversation(100)
    everything = _stored(tmp_path / "all.db", bodies)
    last = _stored(tmp_path / "last.db", bodies[-1:])
    sent = sum(map(len, bodies))
    assert sent > 45 * len(bodies[-1])
    assert everything < 1.3 * last
    assert everything < sent / 50


def test_the_same_image_in_other_messages_is_kept_once(
    store: SqliteTraceRepository, path: Path
) -> None:
    image = "".join(_prose(n, 200).replace(" ", "") for n in range(200))
    for number in range(5):
        messages = [{"role": "user", "content": f"{number} " * number}] * number
        sent = {"n": number, "messages": [*messages, {"content": [{"data": image}]}]}
        body = Body(content=json.dumps(sent).encode())
        store.put([Record(trace=a_trace(number), request=body)])
        assert store.body(numbered_id(number), "request") == body
    ((kept,),) = rows(path, "SELECT sum(length(content)) FROM pieces")
    assert isinstance(kept, int)
    assert kept < len(image)


def test_a_purge_leaves_no_row_behind(store: SqliteTraceRepository, path: Path) -> None:
    body = Body(content=b"")
    shared = b'{"messages":["' + b"s" * 2_000 + b'","%d"]}'
    for number in range(300):
        body = Body(content=shared % number * 3)
        record = a_record(number, started_at=NOON + number * HOURS, findings=(a_finding("x"),))
        store.put([replace(record, request=body)])
    assert store.purge(before=NOON + 299 * HOURS) == 299
    assert store.body(numbered_id(299), "request") == body
    tables = ("traces", "findings", "bodies", "texts")
    assert [number_of(path, table) for table in tables] == [1, 1, 2, 1]
    store.purge(before=NOON + 300 * HOURS)
    assert [number_of(path, table) for table in (*tables, "pieces")] == [0] * 5


def test_pieces_of_the_hour_of_the_purge_go_if_nobody_needs_them(
    store: SqliteTraceRepository, path: Path
) -> None:
    minute = timedelta(minutes=1)
    for number, content in enumerate([b"only old", b"shared", b"shared", b"only new"]):
        trace = a_trace(number, started_at=NOON + number * minute)
        store.put([Record(trace=trace, request=Body(content=content))])
    store.purge(before=NOON + 2 * minute)
    assert number_of(path, "pieces") == 2
    assert store.body(numbered_id(2), "request") == Body(content=b"shared")


def test_a_vacuum_makes_the_file_small_again(store: SqliteTraceRepository, path: Path) -> None:
    store.vacuum()
    empty = path.stat().st_size
    for number in range(50):
        body = Body(content=bytes(_prose(number, 9_000), "ascii"))
        store.put([replace(a_record(number), request=body)])
    store.vacuum()
    full = path.stat().st_size
    store.purge(before=NOON + HOURS)
    store.vacuum()
    assert full > 500_000
    assert path.stat().st_size <= empty + 8_192


def test_no_word_of_a_deleted_text_is_left_in_the_file(
    store: SqliteTraceRepository, path: Path
) -> None:
    for number in range(30):
        store.put([replace(a_record(number), texts=Texts(prompt=f"opensesame{number} " * 9))])
    store.vacuum()
    assert b"opensesame" in path.read_bytes()
    store.put([replace(a_record(99, started_at=NOON + HOURS), texts=Texts(prompt="later"))])
    store.purge(before=NOON + HOURS)
    store.vacuum()
    assert b"opensesame" not in path.read_bytes()
    assert [trace.trace_id for trace in store.query(TraceQuery(text="later"))] == [numbered_id(99)]


class FailingPacker(Packer):
    """Fails at a chosen call, as a full memory might."""

    def __init__(self) -> None:
        super().__init__()
        self.left = -1

    def piece(self, content: bytes) -> tuple[int, bytes]:
        self.left -= 1
        if self.left == 0:
            raise MemoryError
        return super().piece(content)


@pytest.mark.parametrize("call", range(1, 7))
def test_a_batch_that_fails_anywhere_leaves_nothing_and_may_come_again(
    file: SqliteFile, path: Path, call: int
) -> None:
    packer = FailingPacker()
    store = SqliteTraceRepository(file, packer=packer)
    batch = [
        replace(a_record(n), request=Body(content=b"%d" % n), answer=Body(content=b"a%d" % n))
        for n in range(3)
    ]
    packer.left = call
    with pytest.raises(MemoryError):
        store.put(batch)
    assert [number_of(path, table) for table in ("traces", "pieces", "texts")] == [0, 0, 0]
    store.put(batch)
    assert list(store.export(TraceQuery())) == batch
    store.close()


def test_a_lock_keeps_nothing_of_the_batch_and_it_may_come_again(
    store: SqliteTraceRepository, path: Path
) -> None:
    store.put([a_record(1)])
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageUnavailable, match="locked"):
            store.put([a_record(2)])
        assert len(store.query(TraceQuery())) == 1
    store.put([a_record(2)])
    assert list(store.export(TraceQuery())) == [a_record(1), a_record(2)]


def test_a_body_that_was_changed_on_disk_is_refused_with_the_file(
    store: SqliteTraceRepository, path: Path
) -> None:
    store.put([a_record(1)])
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE pieces SET content = x'7b7d', packed = 0")
    with pytest.raises(StorageCorrupt, match=r"llmtrace\.db: a body is not what was written"):
        store.body(numbered_id(1), "request")


def test_texts_are_not_readable_in_the_file_but_found(
    store: SqliteTraceRepository, path: Path
) -> None:
    store.put([replace(a_record(1), texts=Texts(prompt="the open sesame " * 40))])
    assert len(store.query(TraceQuery(text="SESAME"))) == 1
    assert rows(path, "SELECT prompt FROM texts_index") == [(None,)]
