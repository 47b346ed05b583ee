from dataclasses import replace
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from llmtrace.cli.rows import Column, columns_for, header, print_rows, row_text

COLUMNS: Final[tuple[Column[tuple[str, int]], ...]] = (
    Column(title="name", width=10, grows=5, value=lambda item: item[0]),
    Column(title="size", width=6, least=25, right=True, value=lambda item: str(item[1])),
    Column(title="few", width=3, most=24, value=lambda item: "few"),
)


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        pytest.param(15, {"name": 10, "few": 3}, id="narrow"),
        pytest.param(17, {"name": 12, "few": 3}, id="what-grows-takes-what-is-left"),
        pytest.param(25, {"name": 15, "size": 6}, id="wider"),
        pytest.param(500, {"name": 15, "size": 6}, id="widest"),
        pytest.param(None, {"name": 15, "size": 6}, id="no-screen"),
    ],
)
def test_a_screen_has_the_columns_that_fit(width: int | None, shown: dict[str, int]) -> None:
    assert {column.title: column.width for column in columns_for(COLUMNS, width)} == shown


def test_numbers_stand_right_and_titles_above() -> None:
    assert header(COLUMNS, 25) == "name               size"
    assert row_text(COLUMNS, ("a", 7), 25) == "a                     7"


def test_what_is_too_long_for_a_screen_is_cut_unless_people_copy_it() -> None:
    assert row_text(COLUMNS, ("x" * 99, 7), 15) == "xxxxxxxxx…  few"
    whole = [replace(column, whole=True) for column in COLUMNS]
    assert "x" * 99 in row_text(whole, ("x" * 99, 7), 15)
    assert "x" * 99 in row_text(COLUMNS, ("x" * 99, 7), None)


@given(st.text(max_size=30))
def test_any_text_is_one_line_of_a_fixed_width(text: str) -> None:
    row = row_text(COLUMNS, (text, 7), 25)
    assert row.isprintable()
    assert cell_len(row) == 23


def test_a_pipe_gets_columns_as_wide_as_their_longest_cell(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_rows(COLUMNS, [("x" * 30, 1), ("y", 2)], None)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"{'name':30}  size", f"{'x' * 30}     1", f"{'y':30}     2"]
