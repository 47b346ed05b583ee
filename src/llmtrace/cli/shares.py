"""Shares with their intervals, as numbers and as people read them."""

from collections.abc import Sequence

from llmtrace.analyzers.evaluation import Share


def numbers_of(share: Share) -> list[float]:
    """Return a share and its interval, to four digits."""
    return [round(value, 4) for value in (share.value, *share.interval)]


def written(numbers: Sequence[float]) -> str:
    """Write what ``numbers_of`` gave in per cent."""
    value, low, high = numbers
    return f"{value:.1%} ({low:.1%} to {high:.1%})"
