import pytest

from llmtrace.providers.rates import Rate

TIERED = Rate(2, ((200, 5), (400, 3)))


@pytest.mark.parametrize(
    ("tokens", "at", "most"),
    [(0, 2, 2), (200, 2, 2), (201, 5, 5), (400, 5, 5), (401, 3, 5)],
    ids=["base", "at-the-start", "over-the-start", "at-the-second", "over-the-second"],
)
def test_a_tier_begins_over_its_start(tokens: int, at: int, most: int) -> None:
    assert (TIERED.at(tokens), TIERED.most(tokens)) == (at, most)


def test_without_tiers_the_size_does_not_matter() -> None:
    assert Rate(2).at(10**9) == Rate(2).most(10**9) == 2
