"""Guesses against counts of ``o200k_base`` (js-tiktoken 1.0), of texts that none was fitted to."""

import json
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrace.providers import tokens
from llmtrace.providers.tokens import LOOKS, MOST_READ, count_tokens


class Sample(NamedTuple):
    name: str
    tokens: int
    text: str


LINES = (Path(__file__).parent / "token_corpus.jsonl").read_text(encoding="utf-8").splitlines()
SAMPLES = [Sample(**json.loads(line)) for line in LINES]
BY_NAME = {sample.name: sample for sample in SAMPLES}
FAR = {"polish", "ukrainian"}
"""Languages of which words are cut into more tokens than those of others."""


def test_over_all_the_guess_is_within_15_per_cent() -> None:
    guessed = sum(count_tokens([sample.text]) for sample in SAMPLES)
    assert guessed == pytest.approx(sum(sample.tokens for sample in SAMPLES), rel=0.15)


@pytest.mark.parametrize("sample", SAMPLES, ids=BY_NAME)
def test_each_guess_is_not_far_off(sample: Sample) -> None:
    allowed = 0.4 if sample.name in FAR else 0.25
    assert count_tokens([sample.text]) == pytest.approx(sample.tokens, rel=allowed)


def test_prose_code_and_data_are_each_within_15_per_cent() -> None:
    for names in (
        ("english-news", "english-chat", "english-legal", "german", "french", "portuguese"),
        ("python", "typescript", "go", "rust", "stack-trace", "assistant-markdown"),
        ("json-records", "json-schema", "csv", "xml", "kubernetes", "tool-call", "tool-result"),
        ("base64", "hashes", "urls", "server-log"),
        ("chinese", "japanese", "korean", "russian", "arabic", "hindi"),
    ):
        found = [BY_NAME[name] for name in names]
        guessed = sum(count_tokens([sample.text]) for sample in found)
        assert guessed == pytest.approx(sum(s.tokens for s in found), rel=0.15), names


def test_of_a_long_text_as_much_is_read_as_may_be_and_the_rest_is_held_to_be_like_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[int] = []
    real = tokens._tokens

    def noted(text: str) -> float:
        seen.append(len(text))
        return real(text)

    monkeypatch.setattr(tokens, "_tokens", noted)
    text = BY_NAME["python"].text * 100
    assert count_tokens([text]) == pytest.approx(100 * BY_NAME["python"].tokens, rel=0.15)
    assert sum(seen) <= MOST_READ
    assert len(seen) == LOOKS
    many = [sample.text for sample in SAMPLES] * 50
    seen.clear()
    assert count_tokens(many) > 50 * sum(sample.tokens for sample in SAMPLES) // 2
    assert sum(seen) <= MOST_READ


def test_nothing_has_no_tokens() -> None:
    assert count_tokens([]) == count_tokens(["", ""]) == 0


@given(st.lists(st.text(st.characters(codec=None), max_size=60), max_size=5))
def test_any_text_has_a_guess_and_none_has_more_than_two_tokens_a_character(
    texts: list[str],
) -> None:
    assert 0 <= count_tokens(texts) <= 2 * sum(map(len, texts)) + 1


@given(st.text(max_size=80), st.text(max_size=20))
def test_more_text_never_has_fewer_tokens(text: str, more: str) -> None:
    assert count_tokens([text]) <= count_tokens([text + more]) + 1
