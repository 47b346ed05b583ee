import threading
from collections.abc import Mapping, Sequence

from llmtrace.analyzers.base import Context, Direction, Hit, Inspection, Skipped
from llmtrace.analyzers.cache import ENTRY_BYTES, HIT_BYTES, LONG, CachedAnalyzer
from llmtrace.domain.findings import Severity
from llmtrace.domain.parts import Origin, Role


class Counting:
    """Finds the letter x, and counts how often it had to look."""

    name = "counting"

    def __init__(self) -> None:
        self.looked = 0
        self.version = "1"

    def analyze(self, text: str, context: Context) -> Sequence[Hit]:
        self.looked += 1
        at = text.find("x")
        if at < 0:
            return []
        return [
            Hit(
                kind=context.role,
                severity=Severity.LOW,
                confidence=1.0,
                start=at,
                end=at + 1,
                detector="x",
            )
        ]


class Failing(Counting):
    """Cannot look at all of a text."""

    def __init__(self, reason: str = "timeout") -> None:
        super().__init__()
        self.reason = reason

    def inspect(self, text: str, context: Context) -> Inspection:
        return Inspection(self.analyze(text, context), (Skipped("x", self.reason),))

    def undecided(self, text: str) -> int:
        return len(text) - 1


def test_a_text_is_looked_at_once() -> None:
    inner = Counting()
    cached = CachedAnalyzer(inner)
    first, second = (cached.analyze("axb", Context()) for _ in range(2))
    assert first == second
    assert first[0].start == 1
    assert inner.looked == 1
    assert (cached.counts.hits, cached.counts.misses) == (1, 1)


def test_whose_words_they_are_counts() -> None:
    inner = Counting()
    cached = CachedAnalyzer(inner)
    contexts = [
        Context(),
        Context(Role.TOOL_RESULT),
        Context(Role.USER, Origin.UNTRUSTED),
        Context(direction=Direction.ANSWER),
    ]
    kinds = [cached.analyze("x", context)[0].kind for context in contexts]
    assert inner.looked == 4
    assert kinds[1] == Role.TOOL_RESULT


def test_other_rules_look_again() -> None:
    inner = Counting()
    cached = CachedAnalyzer(inner)
    cached.analyze("x", Context())
    inner.version = "2"
    cached.analyze("x", Context())
    assert inner.looked == 2


def test_the_oldest_goes_first() -> None:
    inner = Counting()
    cached = CachedAnalyzer(inner, max_entries=2)
    for text in ("a", "b", "a", "c", "a", "b"):
        cached.analyze(text, Context())
    assert inner.looked == 4
    assert cached.counts.entries == 2
    assert cached.counts.evicted == 2


def test_it_stays_within_its_bytes() -> None:
    cached = CachedAnalyzer(Counting(), max_bytes=2 * ENTRY_BYTES + HIT_BYTES)
    for text in ("x1", "x2", "a", "b", "c"):
        cached.analyze(text, Context())
    assert cached.counts.size == 2 * ENTRY_BYTES
    assert cached.counts.entries == 2


def test_what_is_incomplete_is_not_kept() -> None:
    inner = Failing()
    cached = CachedAnalyzer(inner)
    assert cached.inspect("ax", Context()).skipped
    cached.analyze("ax", Context())
    assert inner.looked == 2
    assert cached.counts.entries == 0


def test_what_is_left_out_each_time_is_no_reason_to_look_again() -> None:
    inner = Failing("script")
    cached = CachedAnalyzer(inner)
    assert cached.inspect("ax", Context()) == cached.inspect("ax", Context())
    assert inner.looked == 1


def test_an_empty_text_has_nothing() -> None:
    inner = Counting()
    assert CachedAnalyzer(inner).analyze("", Context()) == ()
    assert inner.looked == 0


def test_lone_surrogates_are_a_text_too() -> None:
    assert CachedAnalyzer(Counting()).analyze("\ud83dx", Context())[0].start == 1


def test_what_is_undecided_is_asked_of_the_analyzer() -> None:
    assert CachedAnalyzer(Failing()).undecided("abc") == 2
    assert CachedAnalyzer(Counting()).undecided("abc") == 0


def test_it_takes_the_name_and_version_of_its_analyzer() -> None:
    cached = CachedAnalyzer(Counting())
    assert (cached.name, cached.version) == ("counting", "1")


def test_threads_share_it() -> None:
    cached = CachedAnalyzer(Counting(), max_entries=8)

    def work() -> None:
        for number in range(200):
            text = f"{number % 16}x"
            assert cached.analyze(text, Context())[0].start == len(text) - 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = cached.counts
    assert counts.hits + counts.misses == 800
    assert counts.entries == 8
    assert counts.size == 8 * (ENTRY_BYTES + HIT_BYTES)


class Slow(Counting):
    """Takes long for what users say."""

    def slow(self, text: str, context: Context) -> bool:
        return context.role is Role.USER


class Board:
    """A shelf in memory."""

    def __init__(self) -> None:
        self.kept: dict[bytes, Inspection] = {}
        self.trips: list[int] = []

    def recall(self, keys: Sequence[bytes]) -> Mapping[bytes, Inspection]:
        self.trips.append(len(keys))
        return {key: self.kept[key] for key in keys if key in self.kept}

    def keep(self, key: bytes, made: Inspection) -> None:
        self.kept[key] = made


USER, SYSTEM = Context(), Context(Role.SYSTEM)


def test_what_another_has_looked_at_is_not_looked_at_again() -> None:
    board, (one, two) = Board(), (Slow(), Slow())
    first, second = (CachedAnalyzer(inner, shelf=board) for inner in (one, two))
    texts = [("axb", USER), ("no", USER)]
    first.recall(texts)
    told = [first.inspect(*each) for each in texts]
    assert second.slow("axb", USER)
    second.recall(texts)
    assert not second.slow("axb", USER)
    assert [second.inspect(*each) for each in texts] == told
    assert (one.looked, two.looked) == (2, 0)
    second.recall(texts)
    assert board.trips == [2, 2]


def test_only_what_takes_long_is_worth_a_trip() -> None:
    board = Board()
    cached = CachedAnalyzer(Slow(), shelf=board)
    answer = Context(Role.USER, Origin.UNTRUSTED, Direction.ANSWER)
    texts = [("axb", SYSTEM), ("", USER), ("x" * LONG, answer)]
    cached.recall(texts)
    for each in texts:
        cached.inspect(*each)
    assert (board.trips, board.kept) == ([], {})
    long = ("x" * LONG, SYSTEM)
    cached.recall([long])
    cached.inspect(*long)
    assert (board.trips, len(board.kept)) == ([1], 1)


def test_what_is_not_whole_is_not_shared() -> None:
    board = Board()
    CachedAnalyzer(Failing(), shelf=board).inspect("x" * LONG, USER)
    assert board.kept == {}


def test_who_remembers_nothing_asks_for_nothing() -> None:
    board = Board()
    cached = CachedAnalyzer(Slow(), max_entries=0, shelf=board)
    cached.recall([("axb", USER)])
    assert board.trips == []
