from hypothesis import given, settings

from llmtrace.domain.traces import Trace
from llmtrace.storage.codec import from_json
from llmtrace.storage.sqlite_rows import (
    ACTION_COLUMNS,
    FINDING_COLUMNS,
    TRACE_COLUMNS,
    action_of,
    action_rows,
    finding_of,
    finding_rows,
    insert_sql,
    select_sql,
    trace_of,
    trace_row,
)
from llmtrace.testing.records import a_finding, a_trace, traces


@settings(max_examples=100, deadline=None)
@given(traces())
def test_any_trace_is_a_row_and_back(trace: Trace) -> None:
    row = trace_row(7, trace)
    assert len(row) == len(TRACE_COLUMNS)
    findings = [finding_of(row) for row in finding_rows(7, trace)]
    actions = [action_of(row) for row in action_rows(7, trace)]
    assert trace_of(row, findings, actions) == trace


def test_what_has_no_column_is_in_the_details() -> None:
    details = from_json(str(trace_row(1, a_trace())[-1]))
    assert set(details) == {
        "coverage",
        "media",
        "spans",
        "attributes",
        "plan_windows",
        "key_id",
    }


def test_the_counts_stand_where_lists_look_for_them() -> None:
    row = trace_row(1, a_trace(findings=(a_finding("x"),) * 2))
    assert dict(zip(TRACE_COLUMNS, row, strict=True))["finding_count"] == row[-3] == 2
    assert dict(zip(TRACE_COLUMNS, row, strict=True))["action_count"] == row[-2] == 0


def test_statements_have_a_place_for_each_column() -> None:
    assert insert_sql("findings", FINDING_COLUMNS).count("?") == len(FINDING_COLUMNS)
    assert select_sql("actions", ("a", "end"), "WHERE x = ?") == (
        'SELECT "a", "end" FROM actions WHERE x = ?'
    )
    assert len(ACTION_COLUMNS) == len(next(iter(action_rows(1, _acting()))))


def _acting() -> Trace:
    from llmtrace.domain.traces import ActionType, AgentAction

    return a_trace(actions=(AgentAction(action_type=ActionType.TOOL_CALL, name="read"),))
