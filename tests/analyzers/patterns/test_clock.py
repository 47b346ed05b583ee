"""One rule has so much processor time for one view, and no more."""

import pytest
import regex

from llmtrace.analyzers.patterns.clock import Clock, Unfinished


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return how long each thing that is asked takes: the last one of the list, in seconds."""
    seconds, now = [0.0], [0.0]

    def read() -> float:
        now[0] += seconds[-1]
        return now[0]

    monkeypatch.setattr("llmtrace.analyzers.patterns.clock.time.thread_time", read)
    return seconds


def test_what_is_asked_in_time_is_answered(taken: list[float]) -> None:
    taken.append(0.25)
    clock = Clock(1.0)
    assert [clock.of(lambda: "yes") for _ in range(4)] == ["yes"] * 4
    with pytest.raises(Unfinished, match="timeout") as caught:
        clock.of(lambda: "no")
    assert caught.value.reason == "timeout"


def test_searches_and_questions_share_the_time(taken: list[float]) -> None:
    clock, pattern = Clock(1.0), regex.compile("b")
    assert clock.search(pattern, "abc", 0, 3) is not None
    assert clock.search(pattern, "abc", 2, 3) is None
    taken.append(1.0)
    assert clock.of(lambda: True)
    with pytest.raises(Unfinished):
        clock.search(pattern, "abc", 0, 3)


def test_the_time_of_what_fails_counts(taken: list[float]) -> None:
    taken.append(2.0)
    clock = Clock(1.0)
    with pytest.raises(ZeroDivisionError):
        clock.of(lambda: 1 // 0)
    with pytest.raises(Unfinished):
        clock.of(lambda: True)


def test_a_search_that_runs_away_is_cut_off() -> None:
    with pytest.raises(Unfinished, match="timeout"):
        Clock(0.001).search(regex.compile("(?:a+)+b"), "a" * 5_000, 0, 5_000)
