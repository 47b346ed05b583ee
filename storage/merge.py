"""What two records of one call make together, whichever came first.

A worker says twice what it knows of a call: when it begins and when it ends. Both may come again
after a crash, and the recorder adds an end of its own where none came. So the store keeps the
one that is further along and fills what it lacks from the other; the order does not matter.
"""

from collections.abc import Iterable
from typing import Final

from llmtrace.domain.traces import Outcome, Record, Texts, Trace

_UNFINISHED: Final = {Outcome.PENDING: 0, Outcome.INTERRUPTED: 1}


def progress(outcome: Outcome) -> int:
    """How far along a trace is: 0 pending, 1 given up by the recorder, 2 ended by its worker."""
    return _UNFINISHED.get(outcome, 2)


def merged(kept: Record, new: Record) -> Record:
    """Return the trace that is further along (the new one if equal), with all that either has."""
    first, second = new, kept
    if progress(kept.trace.outcome) > progress(new.trace.outcome):
        first, second = kept, new
    return Record(
        trace=first.trace,
        request=first.request if first.request is not None else second.request,
        answer=first.answer if first.answer is not None else second.answer,
        texts=merged_texts(first.texts, second.texts),
    )


def merged_texts(first: Texts, second: Texts) -> Texts:
    """Return the first texts; where one is empty, the second's."""
    return Texts(prompt=first.prompt or second.prompt, answer=first.answer or second.answer)


def by_id(records: Iterable[Record]) -> dict[str, Record]:
    """Merge the records of each call, in order of first appearance."""
    found: dict[str, Record] = {}
    for record in records:
        key = record.trace.trace_id
        found[key] = merged(found[key], record) if key in found else record
    return found


def require_aware(trace: Trace) -> None:
    """Raise ValueError if the trace's start has no time zone."""
    if trace.started_at.tzinfo is None:
        raise ValueError(f"trace {trace.trace_id!r}: started_at has no time zone, expected UTC")
