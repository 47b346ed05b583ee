import sqlite3
from collections.abc import Iterator

import pytest
import zstandard

from llmtrace.storage.migrations import migrate
from llmtrace.storage.sqlite_file import Damaged
from llmtrace.storage.sqlite_pieces import (
    HOUR,
    SWEEP_STEP,
    Packer,
    PieceWriter,
    body_digest,
    join,
    sweep,
    touch,
    unpacked,
)

PACKER = Packer()


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection)
    yield connection
    connection.close()


@pytest.fixture
def writer() -> PieceWriter:
    return PieceWriter(PACKER)


def hours(db: sqlite3.Connection) -> list[int]:
    return [hour for (hour,) in db.execute("SELECT hour FROM pieces ORDER BY id")]


def test_each_piece_is_kept_once(db: sqlite3.Connection, writer: PieceWriter) -> None:
    assert writer.keep(db, [b"a", b"b", b"a"], 1) == [1, 2, 1]
    assert writer.keep(db, [b"c", b"a"], 1) == [3, 1]
    assert PieceWriter(PACKER).keep(db, [b"b"], 1) == [2]
    assert len(hours(db)) == 3


def test_a_piece_is_needed_until_the_latest_hour(
    db: sqlite3.Connection, writer: PieceWriter
) -> None:
    writer.keep(db, [b"a", b"b"], 5)
    writer.keep(db, [b"a"], 3)
    assert hours(db) == [5, 5]
    writer.keep(db, [b"b", b"b"], 9)
    assert hours(db) == [5, 9]
    touch(db, [1, 2], 7)
    assert hours(db) == [7, 9]


def test_what_a_failed_transaction_wrote_is_written_again(
    db: sqlite3.Connection, writer: PieceWriter
) -> None:
    db.execute("BEGIN")
    writer.keep(db, [b"a"], 1)
    db.execute("ROLLBACK")
    writer.forget()
    assert writer.keep(db, [b"a"], 1) == [1]
    assert len(hours(db)) == 1


def test_a_piece_that_packing_makes_longer_is_kept_as_it_is(
    db: sqlite3.Connection, writer: PieceWriter
) -> None:
    body = bytes(range(256))
    for content in (body, b"a" * 500, b""):
        pieces = [content] if content else []
        recipe = PACKER.recipe(writer.keep(db, pieces, 1))
        assert join(db, recipe, body_digest(content)) == content
    assert db.execute("SELECT packed, length(content) < 30 FROM pieces").fetchall() == [
        (0, 0),
        (1, 1),
    ]


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM pieces WHERE id = 2",
        "UPDATE pieces SET content = x'0102', packed = 1 WHERE id = 2",
        "UPDATE pieces SET content = x'0102' WHERE id = 2",
    ],
)
def test_a_damaged_piece_is_never_passed_off_as_the_body(
    db: sqlite3.Connection, writer: PieceWriter, damage: str
) -> None:
    recipe = PACKER.recipe(writer.keep(db, [b"first", b"second"], 1))
    db.execute(damage)
    with pytest.raises(Damaged):
        join(db, recipe, body_digest(b"firstsecond"))


def test_a_frame_that_says_it_is_huge_is_not_unpacked() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(10_000_000))
    with pytest.raises(zstandard.ZstdError, match="larger than"):
        unpacked(bomb, limit=65_536)


def test_pieces_of_earlier_hours_go_in_steps(db: sqlite3.Connection, writer: PieceWriter) -> None:
    writer.keep(db, [b"%d" % number for number in range(SWEEP_STEP + 5)], 3)
    writer.keep(db, [b"later"], 5)
    swept = [sweep(db, 4 * HOUR), sweep(db, 4 * HOUR), sweep(db, 4 * HOUR)]
    assert swept == [SWEEP_STEP, 5, 0]
    assert hours(db) == [5]
