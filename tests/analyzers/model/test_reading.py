import dataclasses
import json
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.analyzers.model import SHIPPED, BadModel, read_manifest, reading
from llmtrace.analyzers.model.manifest import TOKENIZER
from llmtrace.analyzers.model.reading import Reader


@cache
def reader() -> Reader:
    return Reader(read_manifest(SHIPPED))


def test_a_short_text_is_one_window_with_its_characters() -> None:
    windows, tokens = reader().windows("Hello there", most=9)
    assert len(windows) == 1
    assert (tokens, windows[0].spans) == (2, [(0, 5), (6, 11)])


def test_the_largest_token_is_the_last_that_a_text_can_have(tmp_path: Path) -> None:
    assert reader().largest == 30_521
    said = json.loads((SHIPPED / TOKENIZER).read_text())
    said["model"]["vocab"]["ignore"] = 40_000
    (tmp_path / TOKENIZER).write_text(json.dumps(said))
    assert Reader(dataclasses.replace(read_manifest(SHIPPED), folder=tmp_path)).largest == 40_000


def test_an_empty_text_has_no_window() -> None:
    assert reader().windows("", most=9) == ([], 0)


@settings(max_examples=15, deadline=None)
@given(count=st.integers(250, 1500))
def test_windows_leave_no_token_out_and_overlap(count: int) -> None:
    windows, tokens = reader().windows("word " * count, most=99)
    assert tokens == count
    assert len(windows) == reader().needed(count)
    assert windows[0].start == 0
    assert windows[-1].end == 5 * count - 1
    for before, after in pairwise(windows):
        shared = set(before.spans) & set(after.spans)
        assert len(shared) >= read_manifest(SHIPPED).overlap


def test_there_are_never_more_windows_than_asked_for() -> None:
    windows, tokens = reader().windows("word " * 5000, most=3)
    assert (len(windows), tokens) == (3, 5000)


@settings(max_examples=30, deadline=None)
@given(
    words=st.lists(st.sampled_from(["word", "é", "a-b", "\n", "x" * 30, "漢字", ""]), min_size=20)
)
def test_in_pieces_a_text_has_the_same_tokens(words: list[str]) -> None:
    text = " ".join(words)
    whole = reader().windows(text, most=9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "PIECE", 40)
        assert reader().windows(text, most=9) == whole


def test_a_text_without_a_space_is_read_to_its_end() -> None:
    windows, tokens = reader().windows("漢" * 20_000, most=99)
    assert tokens == 20_000
    assert windows[-1].end == 20_000


@pytest.mark.parametrize("text", ["\ud800 lone", "a\x00b", "\u202e\u200b", "🏴‍☠️ flags", "é" * 50])
def test_odd_characters_keep_their_places(text: str) -> None:
    windows, _ = reader().windows(text, most=9)
    assert all(0 <= start <= end <= len(text) for w in windows for start, end in w.spans)


def test_a_file_that_is_no_tokenizer_is_named(tmp_path: Path) -> None:
    (tmp_path / TOKENIZER).write_text("{}")
    with pytest.raises(BadModel, match=TOKENIZER):
        Reader(dataclasses.replace(read_manifest(SHIPPED), folder=tmp_path))
