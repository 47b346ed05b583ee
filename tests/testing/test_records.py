from hypothesis import given, settings

from llmtrace.domain.traces import Record, Trace
from llmtrace.testing.records import a_record, a_trace, numbered_id, records, traces


def test_ids_sort_as_their_numbers() -> None:
    ids = [numbered_id(number) for number in (0, 9, 10, 255, 4_096)]
    assert ids == sorted(set(ids))


def test_changes_replace_fields_of_the_trace() -> None:
    assert a_trace(1, tenant="other").tenant == "other"
    assert a_record(1, tenant="other").trace == a_trace(1, tenant="other")


def test_the_usual_trace_leaves_few_fields_at_their_default() -> None:
    bare = Trace(trace_id="", started_at=a_trace().started_at, tenant="", agent="")
    same = {n for n in Trace.__dataclass_fields__ if getattr(bare, n) == getattr(a_trace(), n)}
    assert len(same) <= 13


@settings(max_examples=20, deadline=None)
@given(trace=traces(), record=records())
def test_strategies_draw_what_they_say(trace: Trace, record: Record) -> None:
    assert isinstance(trace, Trace)
    assert isinstance(record, Record)
