from datetime import UTC, datetime, timedelta

import pytest

from llmtrace.limits import tally as module
from llmtrace.limits.tally import MemoryTally

NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


class Time:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def tally(time: Time) -> MemoryTally:
    return MemoryTally(time)


def test_counts_are_of_a_key_and_a_window(tally: MemoryTally, time: Time) -> None:
    assert [tally.bump("a", window_seconds=60) for _ in range(3)] == [1, 2, 3]
    assert tally.bump("a", by=5, window_seconds=3600) == 5
    assert tally.bump("b", window_seconds=60) == 1
    time.now += timedelta(seconds=59)
    assert tally.bump("a", window_seconds=60) == 4
    time.now += timedelta(seconds=1)
    assert tally.bump("a", window_seconds=60) == 1


def test_counters_are_bounded(tally: MemoryTally, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 3)
    for key in "abcd":
        tally.bump(key, window_seconds=60)
    assert tally.bump("d", window_seconds=60) == 2
    assert tally.bump("a", window_seconds=60) == 1


def test_a_hold_ends_by_release_or_by_time(tally: MemoryTally, time: Time) -> None:
    tally.hold("a", "why")
    tally.hold("b", "why", until=NOON + timedelta(minutes=1))
    assert set(tally.held(["a", "b", "c"])) == {"a", "b"}
    time.now += timedelta(minutes=1)
    assert set(tally.held(["a", "b"])) == {"a"}
    assert tally.release("a")
    assert not tally.release("a")
    assert not tally.held(["a"])
