"""Traces in one SQLite file: for a laptop or one host, with nothing else to run."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Final

from llmtrace.domain.traces import Body, Outcome, Record, Trace
from llmtrace.storage.base import (
    Costs,
    CostsBy,
    FindingQuery,
    Sighting,
    StorageError,
    TraceNotFound,
    TraceQuery,
    TraceTotals,
)
from llmtrace.storage.bodies import cut_answer, cut_request
from llmtrace.storage.merge import by_id, merged_texts, progress, require_aware
from llmtrace.storage.sqlite_costs import read_costs
from llmtrace.storage.sqlite_file import SqliteFile
from llmtrace.storage.sqlite_findings import findings_sql, sightings
from llmtrace.storage.sqlite_pieces import (
    HOUR,
    Packer,
    PieceWriter,
    body_digest,
    join,
    sweep,
    touch,
    unpacked_recipe,
)
from llmtrace.storage.sqlite_rows import (
    ACTION_COLUMNS,
    FINDING_COLUMNS,
    TRACE_COLUMNS,
    Row,
    action_of,
    action_rows,
    finding_of,
    finding_rows,
    insert_sql,
    select_sql,
    trace_of,
    trace_row,
)
from llmtrace.storage.sqlite_search import where
from llmtrace.storage.sqlite_texts import delete_texts, read_texts, write_texts
from llmtrace.storage.sqlite_values import text_in, text_out, time_in

EXPORT_STEP: Final = 100
PURGE_STEP: Final = 200
VACUUM_STEP_PAGES: Final = 2_000
MERGE_STEP_PAGES: Final = 500
MAX_MERGE_STEPS: Final = 10_000

_PUT_TRACE: Final = insert_sql("traces", TRACE_COLUMNS)
_PUT_FINDING: Final = insert_sql("findings", FINDING_COLUMNS)
_PUT_ACTION: Final = insert_sql("actions", ACTION_COLUMNS)
_PUT_BODY: Final = insert_sql(
    "bodies", ("trace", "which", "media_type", "size", "digest", "recipe")
)
_ONE_TRACE: Final = select_sql("traces", TRACE_COLUMNS, "WHERE trace_id = ?")
_FINDINGS: Final = select_sql("findings", FINDING_COLUMNS, "WHERE trace = ? ORDER BY position")
_ACTIONS: Final = select_sql("actions", ACTION_COLUMNS, "WHERE trace = ? ORDER BY position")
_TOTALS: Final = """
SELECT count(*), sum(input_tokens), sum(output_tokens), sum(cache_read_tokens),
    sum(cost_nano_usd), sum(cost_nano_usd IS NULL AND usage_source <> 'none'),
    sum(finding_count)
FROM traces
"""
_OF_A_TRACE: Final = (
    "DELETE FROM findings WHERE trace = ?",
    "DELETE FROM actions WHERE trace = ?",
)
_CUTS: Final[Mapping[str, Callable[[bytes], Sequence[bytes]]]] = {
    "request": cut_request,
    "answer": cut_answer,
}


@dataclass(frozen=True, slots=True)
class _Kept:
    """What is there of a trace that is put again."""

    row_id: int
    outcome: Outcome
    hour: int
    bodies: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Change:
    """A record on its way in: its row, what is there already, and whether it is further along."""

    row_id: int
    record: Record
    hour: int
    kept: _Kept | None

    @property
    def replaces(self) -> bool:
        """Whether the trace is written, and its bodies go before those that are there."""
        new = progress(self.record.trace.outcome)
        return self.kept is None or progress(self.kept.outcome) <= new

    def bodies(self) -> Iterator[tuple[str, Body]]:
        """The bodies to write."""
        there: frozenset[str] = self.kept.bodies if self.kept is not None else frozenset()
        for which, body in (("request", self.record.request), ("answer", self.record.answer)):
            if body is not None and (self.replaces or which not in there):
                yield which, body


class SqliteTraceRepository:
    """Keeps traces in a ``SqliteFile``; see ``TraceRepository`` for what each method promises."""

    def __init__(self, file: SqliteFile, *, packer: Packer | None = None) -> None:
        self._file = file
        self._packer = packer or Packer()
        self._pieces = PieceWriter(self._packer)

    def put(self, records: Sequence[Record]) -> None:
        """Keep the records, all or none."""
        batch = by_id(records)
        for record in batch.values():
            require_aware(record.trace)
        if not batch:
            return
        with self._file.writing() as db:
            try:
                self._write(db, _changes(db, batch.values()))
            except BaseException:
                self._pieces.forget()
                raise

    def get(self, trace_id: str) -> Trace:
        """Return one trace. Raises: TraceNotFound."""
        with self._file.reading() as db:
            found = _traces(db, db.execute(_ONE_TRACE, (text_in(trace_id),)).fetchall())
        if not found:
            raise _not_found(trace_id)
        return found[0]

    def body(self, trace_id: str, which: str) -> Body | None:
        """Return a body, None if there is none. Raises: TraceNotFound."""
        with self._file.reading() as db:
            row = db.execute(
                "SELECT id FROM traces WHERE trace_id = ?", (text_in(trace_id),)
            ).fetchone()
            body = self._body(db, row[0], which) if row is not None else None
        if row is None:
            raise _not_found(trace_id)
        return body

    def query(self, query: TraceQuery) -> Sequence[Trace]:
        """Return the traces that match, newest first."""
        clause, values = where(query)
        sql = select_sql("traces", TRACE_COLUMNS, clause, "ORDER BY trace_id DESC LIMIT ?")
        with self._file.reading() as db:
            return _traces(db, db.execute(sql, (*values, max(0, query.limit))).fetchall())

    def totals(self, query: TraceQuery) -> TraceTotals:
        """Return the sums over all traces that match."""
        clause, values = where(query)
        with self._file.reading() as db:
            row = db.execute(_TOTALS + clause, values).fetchone()
        calls, given, answered, cached, cost, unpriced, findings = (value or 0 for value in row)
        return TraceTotals(
            calls=calls,
            input_tokens=given,
            output_tokens=answered,
            cache_read_tokens=cached,
            cost_nano_usd=cost,
            unpriced_calls=unpriced,
            findings=findings,
        )

    def costs(
        self, query: TraceQuery, by: CostsBy, *, zone: tzinfo | None = UTC
    ) -> Sequence[Costs]:
        """Return the sums over all traces that match, by name."""
        with self._file.reading() as db:
            return read_costs(db, query, by, zone)

    def findings(self, query: FindingQuery) -> Sequence[Sighting]:
        """Return the findings that match, newest call first."""
        sql, values = findings_sql(query)
        with self._file.reading() as db:
            return list(sightings(db.execute(sql, values)))

    def export(self, query: TraceQuery) -> Iterator[Record]:
        """Go through all that match, oldest first; what is purged meanwhile is left out.

        Nothing is held between two records, so that a slow reader stops neither the writer nor
        its checkpoints.
        """
        after: tuple[str, ...] = ()
        last: tuple[str | bytes, ...] = ()
        while True:
            clause, values = where(query, *after)
            sql = select_sql("traces", TRACE_COLUMNS, clause, "ORDER BY trace_id LIMIT ?")
            with self._file.reading() as db:
                rows = db.execute(sql, (*last, *values, EXPORT_STEP)).fetchall()
                traces = _traces(db, rows)
            for row, trace in zip(rows, traces, strict=True):
                yield self._record(row[0], trace)
            if len(rows) < EXPORT_STEP:
                return
            after, last = ("trace_id > ?",), (text_in(traces[-1].trace_id),)

    def purge(self, *, before: datetime) -> int:
        """Delete what started before ``before``, oldest first, in steps that are transactions."""
        moment = time_in(before)
        total = 0
        while True:
            with self._file.writing() as db:
                deleted = _delete_oldest(db, moment)
                total += deleted
                # The pieces go only while no older trace is there, not even one put meanwhile.
                swept = 0 if deleted else sweep(db, moment)
                self._pieces.forget()
            if not deleted and not swept:
                return total

    def vacuum(self) -> None:
        """Give free pages back to the file system, in steps between which others may write.

        Words of deleted texts stay in the index until its parts are merged, so that comes first.
        """
        self._merge_index()
        free = -1
        while True:
            with self._file.maintaining() as db:
                (left,) = db.execute("PRAGMA freelist_count").fetchone()
                if left in (0, free):
                    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
                    return
                free = left
                db.execute(_VACUUM).fetchall()

    def _merge_index(self) -> None:
        # "A negative value starts the merge of everything, a positive one goes on with it, until
        # a statement changes nothing": https://sqlite.org/fts5.html#the_merge_command
        pages = -MERGE_STEP_PAGES
        for _ in range(MAX_MERGE_STEPS):
            with self._file.writing() as db:
                before = db.total_changes
                db.execute(
                    "INSERT INTO texts_index (texts_index, rank) VALUES ('merge', ?)", (pages,)
                )
                if db.total_changes - before < 2:
                    return
            pages = MERGE_STEP_PAGES

    def healthy(self) -> bool:
        """Whether the file can be read now."""
        try:
            with self._file.reading() as db:
                db.execute("SELECT 1 FROM traces LIMIT 1").fetchone()
        except StorageError:
            return False
        return True

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _write(self, db: sqlite3.Connection, changes: Sequence[_Change]) -> None:
        new = [change for change in changes if change.replaces]
        for sql in _OF_A_TRACE:
            db.executemany(sql, [(change.row_id,) for change in new if change.kept is not None])
        db.executemany(_PUT_TRACE, [trace_row(one.row_id, one.record.trace) for one in new])
        for rows, sql in ((finding_rows, _PUT_FINDING), (action_rows, _PUT_ACTION)):
            db.executemany(sql, [r for one in new for r in rows(one.row_id, one.record.trace)])
        for change in changes:
            self._write_bodies(db, change)
        self._write_texts(db, changes)

    def _write_bodies(self, db: sqlite3.Connection, change: _Change) -> None:
        kept = change.kept
        if kept is not None and change.replaces and kept.hour < change.hour:
            _touch_bodies(db, change.row_id, change.hour)
        # The pieces of a late START live as long as the trace that is kept.
        hour = max(change.hour, kept.hour) if kept is not None else change.hour
        for which, body in change.bodies():
            content = body.content
            ids = self._pieces.keep(db, _CUTS[which](content), hour)
            recipe = self._packer.recipe(ids)
            key = (change.row_id, which, text_in(body.media_type))
            db.execute(_PUT_BODY, (*key, len(content), body_digest(content), recipe))

    def _write_texts(self, db: sqlite3.Connection, changes: Sequence[_Change]) -> None:
        items = []
        for change in changes:
            texts = change.record.texts
            if change.kept is not None:
                there = read_texts(db, change.row_id)
                order = (texts, there) if change.replaces else (there, texts)
                texts = merged_texts(*order)
                if texts == there:
                    continue
                delete_texts(db, (change.row_id,))
            items.append((change.row_id, texts))
        write_texts(db, self._packer, items)

    def _body(self, db: sqlite3.Connection, row_id: int, which: str) -> Body | None:
        row = db.execute(
            "SELECT media_type, digest, recipe FROM bodies WHERE trace = ? AND which = ?",
            (row_id, which),
        ).fetchone()
        if row is None:
            return None
        media_type, digest, recipe = row
        return Body(content=join(db, recipe, digest), media_type=text_out(media_type))

    def _record(self, row_id: int, trace: Trace) -> Record:
        with self._file.reading() as db:
            return Record(
                trace=trace,
                request=self._body(db, row_id, "request"),
                answer=self._body(db, row_id, "answer"),
                texts=read_texts(db, row_id),
            )


_VACUUM: Final = " ".join(("PRAGMA incremental_vacuum (", str(VACUUM_STEP_PAGES), ")"))


def _not_found(trace_id: str) -> TraceNotFound:
    return TraceNotFound(f"there is no trace {trace_id!r}; it may be older than what is kept")


def _changes(db: sqlite3.Connection, records: Iterable[Record]) -> Sequence[_Change]:
    (last,) = db.execute("SELECT ifnull(max(id), 0) FROM traces").fetchone()
    changes = []
    for record in records:
        kept = _kept(db, record.trace.trace_id)
        if kept is None:
            last += 1
        row_id = kept.row_id if kept is not None else last
        hour = time_in(record.trace.started_at) // HOUR
        changes.append(_Change(row_id=row_id, record=record, hour=hour, kept=kept))
    return changes


def _kept(db: sqlite3.Connection, trace_id: str) -> _Kept | None:
    row = db.execute(
        "SELECT id, outcome, started_at FROM traces WHERE trace_id = ?", (text_in(trace_id),)
    ).fetchone()
    if row is None:
        return None
    row_id, outcome, started_at = row
    bodies = db.execute("SELECT which FROM bodies WHERE trace = ?", (row_id,)).fetchall()
    return _Kept(row_id, Outcome(outcome), started_at // HOUR, frozenset(w for (w,) in bodies))


def _touch_bodies(db: sqlite3.Connection, row_id: int, hour: int) -> None:
    recipes = db.execute("SELECT recipe FROM bodies WHERE trace = ?", (row_id,)).fetchall()
    for (recipe,) in recipes:
        touch(db, unpacked_recipe(recipe), hour)


def _traces(db: sqlite3.Connection, rows: Sequence[Row]) -> Sequence[Trace]:
    return [
        trace_of(
            row,
            [finding_of(r) for r in db.execute(_FINDINGS, (row[0],))] if row[-3] else (),
            [action_of(r) for r in db.execute(_ACTIONS, (row[0],))] if row[-2] else (),
        )
        for row in rows
    ]


def _delete_oldest(db: sqlite3.Connection, before: int) -> int:
    old = db.execute(
        "SELECT id FROM traces WHERE started_at < ? ORDER BY started_at LIMIT ?",
        (before, PURGE_STEP),
    ).fetchall()
    delete_texts(db, (row_id for (row_id,) in old))
    for sql in (*_OF_A_TRACE, "DELETE FROM bodies WHERE trace = ?", _DELETE_TRACE):
        db.executemany(sql, old)
    return len(old)


_MERGE: Final = "INSERT INTO texts_index (texts_index, rank) VALUES ('merge', ?)"
_DELETE_TRACE: Final = "DELETE FROM traces WHERE id = ?"
