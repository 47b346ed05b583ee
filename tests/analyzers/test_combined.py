from collections.abc import Sequence

from llmtrace.analyzers.base import Context, Hit, Inspection, Skipped
from llmtrace.analyzers.combined import CombinedAnalyzer
from llmtrace.domain.findings import Severity

HERE = Context()


class Finds:
    """Finds a word, and is unsure of as many characters at the end."""

    def __init__(self, word: str) -> None:
        self.name = word
        self.version = f"{word}.1"

    def analyze(self, text: str, context: Context) -> Sequence[Hit]:
        del context
        at = text.find(self.name)
        if at < 0:
            return ()
        return [
            Hit(
                kind=self.name,
                severity=Severity.LOW,
                confidence=1.0,
                start=at,
                end=at + len(self.name),
                detector="finds",
            )
        ]

    def undecided(self, text: str) -> int:
        return max(0, len(text) - len(self.name))


class Hurried(Finds):
    """Leaves something out, and says so."""

    def inspect(self, text: str, context: Context) -> Inspection:
        return Inspection(self.analyze(text, context), (Skipped(self.name, "timeout"),))


def test_the_hits_of_all_come_by_their_start() -> None:
    both = CombinedAnalyzer([Finds("late"), Finds("early"), Finds("earl")])
    hits = both.analyze("early or late", HERE)
    assert [hit.kind for hit in hits] == ["early", "earl", "late"]
    assert both.analyze("", HERE) == []


def test_what_one_leaves_out_is_left_out() -> None:
    made = CombinedAnalyzer([Finds("a"), Hurried("b")]).inspect("ab", HERE)
    assert len(made.hits) == 2
    assert made.skipped == (Skipped("b", "timeout"),)


def test_the_least_sure_says_what_is_undecided() -> None:
    assert CombinedAnalyzer([Finds("a"), Finds("abcd")]).undecided("0123456789") == 6
    assert CombinedAnalyzer([]).undecided("0123456789") == 10


def test_its_version_is_of_all_of_them() -> None:
    one, other = CombinedAnalyzer([Finds("a")]), CombinedAnalyzer([Finds("a"), Finds("b")])
    assert one.version == CombinedAnalyzer([Finds("a")]).version
    assert one.version != other.version


class Ready(Finds):
    """Notes that it was prepared."""

    prepared = False

    def prepare(self) -> None:
        self.prepared = True


def test_each_that_can_be_prepared_is() -> None:
    ready = Ready("a")
    CombinedAnalyzer([Finds("b"), ready]).prepare()
    assert ready.prepared
