"""Follows a store that a recorder writes to: each call once, when it has ended."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from llmtrace.domain.traces import Outcome, Trace
from llmtrace.storage.base import TraceNotFound, TraceQuery, TraceRepository

PAGE: Final = 200
MAX_PAGES: Final = 25
MAX_PENDING: Final = 1000
MAX_SEEN: Final = PAGE * MAX_PAGES


class Following:
    """What is new since it was made. Calls of before that end later are new as well.

    Calls come to the store a little out of their order (several workers, long answers), so all
    ids of the last pages are remembered and not the newest alone. Bounded: of more than
    ``MAX_SEEN`` calls between two looks, the oldest are not told.
    """

    def __init__(self, traces: TraceRepository, query: TraceQuery) -> None:
        self._traces = traces
        self._query = replace(query, limit=PAGE)
        self._seen: dict[str, None] = {}
        self._pending: dict[str, None] = {}
        for trace in self._unseen(pages=1):
            self._note(trace)

    def new(self) -> Iterator[Trace]:
        """Yield what has ended since the last look, oldest first."""
        ended = [trace for trace in self._awaited() if trace.outcome is not Outcome.PENDING]
        for trace in ended:
            self._pending.pop(trace.trace_id, None)
        ended += [trace for trace in self._unseen(pages=MAX_PAGES) if self._note(trace)]
        yield from sorted(ended, key=lambda trace: trace.trace_id)

    def _awaited(self) -> Iterator[Trace]:
        for trace_id in list(self._pending):
            try:
                yield self._traces.get(trace_id)
            except TraceNotFound:  # deleted meanwhile
                self._pending.pop(trace_id, None)

    def _unseen(self, *, pages: int) -> list[Trace]:
        """Go back page by page until a page has something that was seen."""
        unseen: list[Trace] = []
        before = self._query.before_id
        for _ in range(pages):
            found = self._traces.query(replace(self._query, before_id=before))
            new = [trace for trace in found if trace.trace_id not in self._seen]
            unseen += new
            if len(found) < PAGE or len(new) < len(found):
                break
            before = found[-1].trace_id
        return unseen

    def _note(self, trace: Trace) -> bool:
        """Remember a call; return whether it has ended."""
        self._seen[trace.trace_id] = None
        while len(self._seen) > 2 * MAX_SEEN:
            del self._seen[next(iter(self._seen))]
        if trace.outcome is not Outcome.PENDING:
            return True
        self._pending[trace.trace_id] = None
        while len(self._pending) > MAX_PENDING:
            del self._pending[next(iter(self._pending))]
        return False
