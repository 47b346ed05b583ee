"""The parser's time, and where statements begin."""

import pytest

from llmtrace.analyzers.actions.budget import Budget
from llmtrace.analyzers.actions.parsing import MAX_BACK, parse, statement_before


def test_a_text_is_read_while_there_is_time() -> None:
    assert parse("echo a\n" * 1_000, Budget())[1]
    assert not parse("echo a\n" * 1_000, Budget(seconds=0.0))[1]


@pytest.mark.parametrize(
    ("text", "inside", "begins"),
    [
        ("ls; echo 'a; rm b'", "rm", "echo"),
        ("ls\ncat <<E\nrm -rf /\nE\n", "rm", "cat"),
        ("ls # a; rm b\n", "rm", "#"),
    ],
)
def test_a_statement_begins_outside_of_its_quotes(text: str, inside: str, begins: str) -> None:
    assert statement_before(text, text.index(inside)) == text.index(begins)


def test_a_statement_that_is_far_too_long_is_passed_over() -> None:
    text = f"echo '{'a' * 2 * MAX_BACK}'; ls"
    assert text[statement_before(text, len(text) - 10) :] == "; ls"
