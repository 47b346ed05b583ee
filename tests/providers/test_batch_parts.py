import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrace.domain.usage import Usage
from llmtrace.providers.batch_parts import Part, added, parts_of, written
from llmtrace.providers.usage_shapes import BATCH

COUNTS = st.integers(0, 10**9)
USAGES = st.builds(Usage, input_tokens=COUNTS, output_tokens=COUNTS, web_searches=COUNTS)
PARTS = st.builds(Part, st.text(max_size=20), COUNTS, USAGES)


@given(st.lists(PARTS, max_size=5))
def test_parts_are_read_as_they_were_written(parts: list[Part]) -> None:
    assert parts_of({BATCH: [written(part) for part in parts]}) == parts


@given(USAGES, USAGES)
def test_what_both_have_used_is_added(one: Usage, other: Usage) -> None:
    both = added(one, other)
    assert both.total_tokens == one.total_tokens + other.total_tokens
    assert both.web_searches == one.web_searches + other.web_searches


@pytest.mark.parametrize(
    "raw",
    [
        None,
        {},
        {BATCH: {"model": "m"}},
        {BATCH: ["m", 1, None]},
        {BATCH: [{"model": 3, "largest": 1}]},
        {BATCH: [{"model": "m", "largest": -1}]},
        {BATCH: [{"model": "m", "largest": 1, "input_tokens": -1}]},
        {BATCH: [{"model": "m", "largest": 1, "input_tokens": 1 << 60}]},
        {BATCH: [{"model": "m", "largest": 1, "input_tokens": True}]},
        {BATCH: [{"model": "m"}]},
    ],
    ids=repr,
)
def test_a_part_that_is_none_is_left_out(raw: dict[str, object] | None) -> None:
    assert parts_of(raw) == []
