"""Prompts and answers in SQLite: packed for the export, and indexed for the search.

The index holds no copy of the texts, so whoever deletes an entry must say again what was in it.
"""

import sqlite3
from collections.abc import Iterable
from typing import Any, Final

import zstandard

from llmtrace.domain.traces import Texts
from llmtrace.storage.codec import from_json, to_json
from llmtrace.storage.search import MAX_INDEXED
from llmtrace.storage.sqlite_file import Damaged
from llmtrace.storage.sqlite_pieces import Packer, unpacked

_MAX_TEXTS: Final = 1024 * 1024 * 1024
_INSERT: Final = "INSERT INTO texts_index (rowid, prompt, answer) VALUES (?, ?, ?)"
_DELETE: Final = (
    "INSERT INTO texts_index (texts_index, rowid, prompt, answer) VALUES ('delete', ?, ?, ?)"
)


def read_texts(db: sqlite3.Connection, row_id: int) -> Texts:
    """Return the texts of a trace, empty ones if it has none.

    Raises:
        Damaged: They are not what was written.
    """
    row = db.execute("SELECT content FROM texts WHERE trace = ?", (row_id,)).fetchone()
    if row is None:
        return Texts()
    try:
        prompt, answer = from_json(unpacked(row[0], limit=_MAX_TEXTS))
    except (zstandard.ZstdError, ValueError) as error:
        raise Damaged("the texts of a trace cannot be read") from error
    return Texts(prompt=prompt, answer=answer)


def write_texts(db: sqlite3.Connection, packer: Packer, items: Iterable[tuple[int, Texts]]) -> None:
    """Keep the texts of traces that have none yet."""
    kept = [(row_id, texts) for row_id, texts in items if texts != Texts()]
    db.executemany(
        "INSERT INTO texts (trace, content) VALUES (?, ?)",
        [(row_id, packer.text(to_json((texts.prompt, texts.answer)))) for row_id, texts in kept],
    )
    db.executemany(_INSERT, [_entry(row_id, texts) for row_id, texts in kept])


def delete_texts(db: sqlite3.Connection, row_ids: Iterable[int]) -> None:
    """Forget the texts of traces; those without any are no error."""
    for row_id in row_ids:
        texts = read_texts(db, row_id)
        if texts != Texts():
            db.execute(_DELETE, _entry(row_id, texts))
            db.execute("DELETE FROM texts WHERE trace = ?", (row_id,))


def _entry(row_id: int, texts: Texts) -> tuple[Any, ...]:
    return row_id, _indexed(texts.prompt), _indexed(texts.answer)


def _indexed(text: str) -> str:
    cut = text[:MAX_INDEXED]
    return cut if cut.isascii() else cut.encode("utf-8", "replace").decode()
