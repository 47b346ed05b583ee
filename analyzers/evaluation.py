"""What a detector's scores are worth on texts whose truth is known."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Final

FALSE_POSITIVES: Final = (0.001, 0.01, 0.05)
"""Shares of harmless texts at which recall is told."""
Z: Final = 1.96

type Name = tuple[int, int, str]
"""A name in a text: start, end, and what kind of name it is."""


@dataclass(frozen=True, slots=True)
class Share:
    """A share of texts, with its Wilson interval of 95 %."""

    count: int
    of: int

    @property
    def value(self) -> float:
        """The share, 0 where there are no texts."""
        return self.count / self.of if self.of else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Between what the true share is, 19 times in 20."""
        if not self.of:
            return 0.0, 1.0
        p, n, z = self.value, self.of, Z * Z
        middle = (p + z / (2 * n)) / (1 + z / n)
        half = Z * sqrt(p * (1 - p) / n + z / (4 * n * n)) / (1 + z / n)
        return max(0.0, middle - half), min(1.0, middle + half)


def auc(harmless: Sequence[float], attacks: Sequence[float]) -> float:
    """Return the share of pairs in which the attack scores higher; ties count half.

    Raises:
        ValueError: There are no texts of one kind.
    """
    if not harmless or not attacks:
        raise ValueError("needs harmless texts and attacks")
    ranked = sorted([(score, 0) for score in harmless] + [(score, 1) for score in attacks])
    total, at = 0.0, 0
    while at < len(ranked):
        to = at
        while to < len(ranked) and ranked[to][0] == ranked[at][0]:
            to += 1
        total += sum(label for _, label in ranked[at:to]) * (at + to + 1) / 2
        at = to
    count = len(attacks)
    return (total - count * (count + 1) / 2) / (count * len(harmless))


def recall_at(harmless: Sequence[float], attacks: Sequence[float], rate: float) -> Share:
    """Return how many attacks score higher than all but ``rate`` of the harmless texts."""
    ranked = sorted(harmless, reverse=True)
    threshold = ranked[min(int(rate * len(ranked)), len(ranked) - 1)]
    return Share(sum(score > threshold for score in attacks), len(attacks))


def flagged(scores: Sequence[float], least: float) -> Share:
    """Return how many texts score at least ``least``."""
    return Share(sum(score >= least for score in scores), len(scores))


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """How many names there are, were told, and were told right: whole, and by their kind."""

    there: int
    told: int
    right: int

    @property
    def precision(self) -> Share:
        """How many of the names that were told are right."""
        return Share(self.right, self.told)

    @property
    def recall(self) -> Share:
        """How many of the names that are there were told right."""
        return Share(self.right, self.there)

    @property
    def f1(self) -> float:
        """The harmonic mean of both, 0 where there is nothing."""
        both = self.told + self.there
        return 2 * self.right / both if both else 0.0


def named(
    texts: Iterable[tuple[Collection[Name], Collection[Name]]], kind: str | None = None
) -> Named:
    """Return what was told of the names in texts, given as pairs of those that are there and told.

    A name is right where its start, its end and its kind are. With ``kind`` the others are left
    out.
    """
    there = told = right = 0
    for truth, guess in texts:
        known = {one for one in truth if kind in (None, one[2])}
        said = {one for one in guess if kind in (None, one[2])}
        there, told, right = there + len(known), told + len(said), right + len(known & said)
    return Named(there=there, told=told, right=right)
