"""What patterns of a pack share is written once, and a slip in it is told before anything runs."""

import pytest

from llmtrace.analyzers.patterns import BadPack, Rule
from llmtrace.analyzers.patterns.packs import MAX_PATTERN, read_pack

RULE = """
rules:
  - {id: one, kind: persuasion, confidence: 0.5, pattern: '%{both}', confirm: '(?<!no )%{a}',
     examples: {match: [ab]}}
"""


def read(fragments: str) -> Rule:
    return next(read_pack(f"family: f\nversion: 1\nfragments: {fragments}{RULE}", "own.yaml"))


def test_fragments_stand_in_patterns_and_in_later_fragments() -> None:
    rule = read("{a: '[ab]+', both: 'x%{a}'}")
    assert (rule.pattern, rule.confirm) == ("x[ab]+", "(?<!no )[ab]+")


@pytest.mark.parametrize(
    ("fragments", "said"),
    [
        pytest.param("{a: x}", "rule 'one': pattern: no fragment 'both'", id="unknown"),
        pytest.param("{both: '%{a}', a: x}", "fragment 'both': no fragment 'a'", id="later"),
        pytest.param("{both: '%{both}', a: x}", "no fragment 'both'", id="itself"),
        pytest.param("[a, b]", "fragments are no mapping", id="list"),
        pytest.param("{a: 1, both: x}", "fragments are no mapping", id="number"),
        pytest.param(
            f"{{a: x, both: '{'y' * (MAX_PATTERN + 1)}'}}", "at most 32768", id="too-long"
        ),
    ],
)
def test_a_slip_in_a_fragment_is_named(fragments: str, said: str) -> None:
    with pytest.raises(BadPack, match=said):
        read(fragments)


def test_fragments_cannot_grow_without_bound() -> None:
    rows = ["a0: xxxxxxxx", *(f"a{n}: '%{{a{n - 1}}}%{{a{n - 1}}}'" for n in range(1, 40))]
    with pytest.raises(BadPack, match="at most"):
        read("{" + ", ".join(rows) + ", a: x, both: x}")
