import re

import pytest

from llmtrace.analyzers.base import Context, Hit, Inspection, Skipped
from llmtrace.cli.scanpieces import AROUND, PIECE, inspect_whole
from llmtrace.domain.findings import Severity

MOST = PIECE + 2 * AROUND


class Nearsighted:
    """A model that reads only the first code points of a text, and finds names like ``Ann``."""

    name = "model"
    version = "1"

    def __init__(self, *, most: int = MOST, reason: str = "over_limit") -> None:
        self._most, self._reason = most, reason

    def analyze(self, text: str, context: Context) -> list[Hit]:
        return list(self.inspect(text, context).hits)

    def inspect(self, text: str, context: Context) -> Inspection:
        hits = [
            Hit(
                kind="pii.name",
                severity=Severity.LOW,
                confidence=0.9,
                start=found.start(),
                end=found.end(),
                detector="model.name",
                value=True,
            )
            for found in re.finditer(r"Ann+", text[: self._most])
        ]
        cut = len(text) > self._most
        return Inspection(hits, (Skipped("model", self._reason),) if cut else ())


@pytest.mark.parametrize("shift", range(6))
def test_no_seam_splits_or_loses_a_value(shift: int) -> None:
    text = "x" * (PIECE - 3 + shift) + "Annnn" + "y" * 3 * PIECE + "Ann"
    made = inspect_whole(Nearsighted(), text, Context())
    assert [text[hit.start : hit.end] for hit in made.hits] == ["Annnn", "Ann"]
    assert made.skipped == ()


def test_what_cannot_be_read_in_pieces_either_is_told() -> None:
    made = inspect_whole(Nearsighted(most=100), "Ann " * PIECE, Context())
    assert made.skipped == (Skipped("model", "over_limit"),)


def test_a_fault_is_told_and_not_tried_again() -> None:
    made = inspect_whole(Nearsighted(reason="failed"), "Ann " * PIECE, Context())
    assert made.skipped == (Skipped("model", "failed"),)


def test_a_text_that_is_read_whole_is_read_once() -> None:
    assert len(inspect_whole(Nearsighted(), "Ann", Context()).hits) == 1
