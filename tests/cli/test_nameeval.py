from collections.abc import Sequence

from llmtrace.analyzers.base import Context, Hit
from llmtrace.cli.knownrows import Sentence
from llmtrace.cli.nameeval import COLUMNS, name_lines, names_worth
from llmtrace.domain.findings import Severity


class Reads:
    """Tells the same names in any text."""

    name = version = "reads"

    def __init__(self, *names: tuple[int, int, str]) -> None:
        self._names = names

    def analyze(self, text: str, context: Context) -> Sequence[Hit]:
        return [
            Hit(
                kind=kind,
                severity=Severity.INFO,
                confidence=0.9,
                start=start,
                end=end,
                detector="reads",
            )
            for start, end, kind in self._names
        ]


ROWS = [Sentence("Ann of Oslo", frozenset({(0, 3, "pii.person"), (7, 11, "pii.location")}))]
ANN = (0, 3, "pii.person")


def test_a_name_is_right_only_whole_and_by_its_kind() -> None:
    sure, all_told = Reads(ANN), Reads(ANN, (7, 10, "pii.location"), (7, 11, "pii.organization"))
    made = names_worth({"m": sure}, {"m": all_told}, ROWS, Context())["m"]
    assert (made["redacted"]["right"], made["redacted"]["told"], made["redacted"]["there"]) == (
        1, 1, 2,
    )  # fmt: skip
    assert (made["all"]["right"], made["all"]["told"]) == (1, 3)
    assert made["all"]["by_kind"]["pii.location"]["recall"][0] == 0.0
    assert made["all"]["by_kind"]["pii.organization"]["there"] == 0


def test_what_is_no_name_does_not_count() -> None:
    reader = Reads((0, 3, "pii.email"), (0, 3, "prompt_injection"))
    assert names_worth({"m": reader}, {"m": reader}, ROWS, Context())["m"]["all"]["told"] == 0


def test_each_line_of_the_table_fills_its_columns() -> None:
    reader = Reads(ANN)
    lines = list(name_lines(names_worth({"m": reader}, {"m": reader}, ROWS, Context())))
    assert {len(line) for line in lines} == {len(COLUMNS)}
    assert lines[0][:2] == ["m, redacted", "all kinds"]
    assert "66.7%" in lines[0]
    assert [line[1] for line in lines[:3]] == ["all kinds", "pii.location", "pii.person"]
