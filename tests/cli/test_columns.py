import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from rich.cells import cell_len

from llmtrace.cli.columns import CALLS, FINDINGS
from llmtrace.cli.rows import Column, columns_for, header, row_text
from llmtrace.domain.findings import Verdict
from llmtrace.domain.traces import Outcome, Trace
from llmtrace.storage.base import Sighting
from llmtrace.testing.records import NOON, a_finding, a_trace, numbered_id, traces

SIGHTING = Sighting(
    trace_id=numbered_id(1),
    started_at=NOON,
    tenant="t" * 99,
    agent="a" * 99,
    call_verdict=Verdict.ALLOW,
    finding=replace(a_finding("k" * 99), location="l" * 99, rule="r" * 99),
)


@pytest.mark.parametrize("width", [80, 89, 90, 102, 107, 119, 120, 127, 145, 165, 200])
@pytest.mark.parametrize(
    ("columns", "item"),
    [
        (CALLS, a_trace(1, model_answered="m" * 99, error_code="e" * 99)),
        (FINDINGS, SIGHTING),
    ],
    ids=["call", "finding"],
)
def test_a_row_fits_its_screen_and_keeps_its_id_whole(
    columns: tuple[Column[Any], ...], item: object, width: int
) -> None:
    row = row_text(columns, item, width)
    assert cell_len(row) <= width
    assert row.endswith(numbered_id(1))
    assert len(header(columns, width)) <= width


@pytest.mark.parametrize(
    ("columns", "widths"),
    [(CALLS, (80, 90, 102, 119, 127, 145, 165)), (FINDINGS, (80, 93, 99, 123, 139, 159))],
    ids=["calls", "findings"],
)
def test_a_wider_screen_shows_more(
    columns: tuple[Column[Any], ...], widths: tuple[int, ...]
) -> None:
    titles = [{column.title for column in columns_for(columns, width)} for width in widths]
    assert all(a < b for a, b in itertools.pairwise(titles))
    assert titles[-1] == {column.title for column in columns}


def test_a_call_that_failed_is_seen_on_any_screen() -> None:
    failed = a_trace(outcome=Outcome.REFUSED, cost_nano_usd=None)
    assert all("refused" in row_text(CALLS, failed, width) for width in (80, 90, 120, None))


def test_why_a_call_failed_is_seen() -> None:
    failed = a_trace(outcome=Outcome.CONNECT_FAILED, error_code="provider_unreachable")
    assert all("  unreachable " in row_text(CALLS, failed, width) for width in (90, 120, 200))


def test_what_became_of_a_call_is_seen() -> None:
    assert "redact" in row_text(CALLS, a_trace(verdict=Verdict.REDACT), 102)


def test_the_agent_and_the_run_are_told_apart() -> None:
    called = a_trace(agent="builder", run="brave-otter-3f1a")
    shown = row_text(CALLS, called, 145)
    assert "builder" in shown
    assert "brave-otter-3f1a" not in shown
    assert "builder           brave-otter-3f1a  " in row_text(CALLS, called, 165)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        pytest.param(Verdict.FLAG, "would redact", id="observed"),
        pytest.param(Verdict.REDACT, "redact", id="enforced"),
        pytest.param(Verdict.BLOCK, "redact", id="beside-a-sterner-one"),
    ],
)
def test_what_was_only_watched_is_told_from_what_was_done(call: Verdict, told: str) -> None:
    finding = replace(SIGHTING.finding, verdict=Verdict.REDACT)
    seen = replace(SIGHTING, finding=finding, call_verdict=call)
    for width in (80, 200, None):
        row = row_text(FINDINGS, seen, width)
        assert f"  {told}  " in row
        assert ("would" in row) == told.startswith("would")


def test_letters_of_two_cells_keep_the_columns_straight() -> None:
    wide, plain = (row_text(CALLS, a_trace(model_answered=m), 80) for m in ("模型" * 20, "model"))
    assert cell_len(wide) == cell_len(plain)


@settings(max_examples=50, deadline=None)
@given(traces())
def test_any_call_is_one_line_without_control_characters(trace: Trace) -> None:
    row = row_text(CALLS, replace(trace, trace_id="id"), 80)
    assert row.isprintable()
    row.encode()
