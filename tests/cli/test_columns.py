import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from rich.cells import cell_len

from llmtrace.cli.columns import COLUMNS, columns_for, header, print_traces, row_text
from llmtrace.domain.traces import Outcome, Trace
from llmtrace.testing.records import a_trace, numbered_id, traces


@pytest.mark.parametrize("width", [80, 89, 90, 107, 120, 133, 200])
def test_a_row_fits_its_screen_and_keeps_its_id_whole(width: int) -> None:
    row = row_text(a_trace(1, model_answered="m" * 99, error_code="e" * 99), width)
    assert cell_len(row) <= width
    assert row.endswith(numbered_id(1))
    assert len(header(width)) <= width


def test_a_wider_screen_shows_more() -> None:
    titles = [{column.title for column in columns_for(width)} for width in (80, 90, 107, 115, 133)]
    assert all(a < b for a, b in itertools.pairwise(titles))
    assert titles[-1] == {column.title for column in COLUMNS}


def test_a_call_that_failed_is_seen_on_any_screen() -> None:
    failed = a_trace(outcome=Outcome.REFUSED, cost_nano_usd=None)
    assert all("refused" in row_text(failed, width) for width in (80, 90, 120, None))


def test_nothing_is_cut_where_there_is_no_screen() -> None:
    name = "a-model-with-a-very-long-name-" * 9
    assert name in row_text(a_trace(model_answered=name), None)


def test_letters_of_two_cells_keep_the_columns_straight() -> None:
    wide, plain = (row_text(a_trace(model_answered=m), 80) for m in ("模型" * 20, "model"))
    assert cell_len(wide) == cell_len(plain)


@settings(max_examples=50, deadline=None)
@given(traces())
def test_any_call_is_one_line_without_control_characters(trace: Trace) -> None:
    row = row_text(replace(trace, trace_id="id"), 80)
    assert row.isprintable()
    row.encode()


def test_all_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    print_traces([a_trace(1), a_trace(2)], None)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("started")
    assert [line[-36:] for line in lines[1:]] == [numbered_id(1), numbered_id(2)]
