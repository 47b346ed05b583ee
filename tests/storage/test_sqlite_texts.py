import sqlite3
from collections.abc import Iterator

import pytest

from llmtrace.domain.traces import Texts
from llmtrace.storage.migrations import migrate
from llmtrace.storage.search import MAX_INDEXED
from llmtrace.storage.sqlite_file import Damaged
from llmtrace.storage.sqlite_pieces import Packer
from llmtrace.storage.sqlite_texts import delete_texts, read_texts, write_texts
from llmtrace.testing.records import HOSTILE

PACKER = Packer()


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection)
    yield connection
    connection.close()


def found(db: sqlite3.Connection, query: str) -> list[int]:
    rows = db.execute("SELECT rowid FROM texts_index WHERE texts_index MATCH ?", (query,))
    return [row_id for (row_id,) in rows]


def intact(db: sqlite3.Connection) -> None:
    db.execute("INSERT INTO texts_index (texts_index) VALUES ('integrity-check')")


@pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
def test_texts_come_back_and_go_without_a_rest(db: sqlite3.Connection, hostile: str) -> None:
    texts = Texts(prompt=f"alpha {hostile}", answer=hostile)
    write_texts(db, PACKER, [(1, texts), (2, Texts(answer="alpha"))])
    assert read_texts(db, 1) == texts
    assert found(db, "alpha") == [1, 2]
    delete_texts(db, [1, 99])
    assert read_texts(db, 1) == Texts()
    assert found(db, "alpha") == [2]
    intact(db)


def test_a_long_text_is_kept_whole_and_found_by_its_beginning(db: sqlite3.Connection) -> None:
    texts = Texts(prompt="first " + "x" * MAX_INDEXED + " last")
    write_texts(db, PACKER, [(1, texts)])
    assert read_texts(db, 1) == texts
    assert (found(db, "first"), found(db, "last")) == ([1], [])
    delete_texts(db, [1])
    assert found(db, "first") == []
    intact(db)


def test_no_texts_take_no_room(db: sqlite3.Connection) -> None:
    write_texts(db, PACKER, [(1, Texts())])
    assert db.execute("SELECT count(*) FROM texts").fetchone() == (0,)


def test_damaged_texts_are_said_so(db: sqlite3.Connection) -> None:
    write_texts(db, PACKER, [(1, Texts(prompt="x"))])
    db.execute("UPDATE texts SET content = x'00'")
    with pytest.raises(Damaged, match="texts of a trace"):
        read_texts(db, 1)
