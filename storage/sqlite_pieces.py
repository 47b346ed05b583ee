"""The pieces of bodies in SQLite: each kept once, for as long as a trace needs it.

No count of references is kept, and no recipe of a kept trace is read to delete old pieces: a
piece has the latest hour in which a trace with it began. Once all traces from before a moment
are gone, a piece of an earlier hour belongs to none. Only pieces of that moment's own hour are
looked up in the recipes of the traces of that hour.
"""

import hashlib
import sqlite3
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final

import zstandard

from llmtrace.storage.bodies import MAX_PIECE, read_recipe, write_recipe
from llmtrace.storage.sqlite_file import Damaged

HOUR: Final = 3_600_000_000
"""Microseconds of an hour."""

MAX_KNOWN: Final = 50_000
SWEEP_STEP: Final = 2_000
_LEVEL: Final = 3
_MAX_RECIPE: Final = 64 * 1024 * 1024

type _Known = tuple[int, int]
"""A piece's id and hour."""


def body_digest(content: bytes) -> bytes:
    """Return the BLAKE2b-128 of a whole body."""
    return hashlib.blake2b(content, digest_size=16).digest()


class Packer:
    """Packs with zstd, one at a time (the contexts are not safe to share between threads)."""

    def __init__(self) -> None:
        self._pack = zstandard.ZstdCompressor(level=_LEVEL).compress

    def piece(self, content: bytes) -> tuple[int, bytes]:
        """Return 1 and the packed content, or 0 and the content where packing gains nothing."""
        packed = self._pack(content)
        return (1, packed) if len(packed) < len(content) else (0, content)

    def recipe(self, ids: Iterable[int]) -> bytes:
        """Return a packed recipe."""
        return self._pack(write_recipe(ids))

    def text(self, content: bytes) -> bytes:
        """Return packed bytes of any size."""
        return self._pack(content)


def unpacked(content: bytes, *, limit: int) -> bytes:
    """Return what was packed. Raises: zstandard.ZstdError, also beyond ``limit`` bytes."""
    if zstandard.frame_content_size(content) > limit:
        raise zstandard.ZstdError("larger than anything that was packed")
    return zstandard.ZstdDecompressor().decompress(content, max_output_size=limit)


def unpacked_recipe(recipe: bytes) -> list[int]:
    """Return the ids of a packed recipe."""
    return read_recipe(unpacked(recipe, limit=_MAX_RECIPE))


class PieceWriter:
    """Keeps pieces, inside the transactions of the one writer.

    It remembers which pieces are there. ``forget`` must follow a transaction that failed.
    """

    def __init__(self, packer: Packer) -> None:
        self._packer = packer
        self._known: OrderedDict[bytes, _Known] = OrderedDict()

    def forget(self) -> None:
        """Remember nothing: what was written may not be there."""
        self._known.clear()

    def keep(self, db: sqlite3.Connection, pieces: Sequence[bytes], hour: int) -> list[int]:
        """Write those pieces that are new, mark all as needed in ``hour``, and return their ids."""
        digests = [hashlib.blake2b(piece, digest_size=20).digest() for piece in pieces]
        new: dict[bytes, bytes] = {}
        late: list[int] = []
        for digest, piece in zip(digests, pieces, strict=True):
            known = self._find(db, digest)
            if known is None:
                new[digest] = piece
            elif known[1] < hour:
                late.append(known[0])
                self._remember(digest, (known[0], hour))
        self._write(db, new, hour)
        touch(db, late, hour)
        return self._ids(db, digests)

    def _find(self, db: sqlite3.Connection, digest: bytes) -> _Known | None:
        known = self._known.get(digest)
        if known is None:
            row = db.execute("SELECT id, hour FROM pieces WHERE digest = ?", (digest,)).fetchone()
            if row is None:
                return None
            known = (row[0], row[1])
        self._remember(digest, known)
        return known

    def _remember(self, digest: bytes, known: _Known) -> None:
        self._known[digest] = known
        self._known.move_to_end(digest)

    def _write(self, db: sqlite3.Connection, new: dict[bytes, bytes], hour: int) -> None:
        if not new:
            return
        (last,) = db.execute("SELECT ifnull(max(id), 0) FROM pieces").fetchone()
        rows = []
        for number, (digest, piece) in enumerate(new.items(), last + 1):
            rows.append((number, digest, hour, *self._packer.piece(piece)))
            self._remember(digest, (number, hour))
        db.executemany(
            "INSERT INTO pieces (id, digest, hour, packed, content) VALUES (?, ?, ?, ?, ?)", rows
        )

    def _ids(self, db: sqlite3.Connection, digests: Sequence[bytes]) -> list[int]:
        ids = [self._known[digest][0] for digest in digests]
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return ids


def touch(db: sqlite3.Connection, ids: Iterable[int], hour: int) -> None:
    """Mark pieces as needed in ``hour``, unless they are needed later already."""
    db.executemany(
        "UPDATE pieces SET hour = ? WHERE id = ? AND hour < ?",
        ((hour, number, hour) for number in ids),
    )


def join(db: sqlite3.Connection, recipe: bytes, digest: bytes) -> bytes:
    """Put a body together.

    Raises:
        Damaged: A piece is gone or not what it was.
    """
    try:
        content = b"".join(_piece(db, number) for number in unpacked_recipe(recipe))
    except (zstandard.ZstdError, ValueError) as error:
        raise Damaged("a body cannot be unpacked") from error
    if body_digest(content) != digest:
        raise Damaged("a body is not what was written")
    return content


def _piece(db: sqlite3.Connection, number: int) -> bytes:
    row = db.execute("SELECT packed, content FROM pieces WHERE id = ?", (number,)).fetchone()
    if row is None:
        raise Damaged("a piece of a body is gone")
    packed, content = row
    return unpacked(content, limit=MAX_PIECE) if packed else bytes(content)


def sweep(db: sqlite3.Connection, before: int) -> int:
    """Delete up to ``SWEEP_STEP`` pieces that no trace needs, and return how many.

    Args:
        db: The writer, in a transaction in which no trace from before ``before`` is left.
        before: Microseconds since 1970.
    """
    hour = before // HOUR
    deleted = db.execute(
        "DELETE FROM pieces WHERE id IN (SELECT id FROM pieces WHERE hour < ? LIMIT ?)",
        (hour, SWEEP_STEP),
    ).rowcount
    return deleted or _sweep_hour(db, hour, before)


def _sweep_hour(db: sqlite3.Connection, hour: int, before: int) -> int:
    unneeded = {number for (number,) in db.execute("SELECT id FROM pieces WHERE hour = ?", (hour,))}
    if not unneeded:
        return 0
    recipes = db.execute(
        "SELECT recipe FROM bodies JOIN traces ON traces.id = bodies.trace "
        "WHERE started_at >= ? AND started_at < ?",
        (before, (hour + 1) * HOUR),
    )
    for (recipe,) in recipes:
        unneeded.difference_update(unpacked_recipe(recipe))
    db.executemany("DELETE FROM pieces WHERE id = ?", ((number,) for number in unneeded))
    return len(unneeded)
