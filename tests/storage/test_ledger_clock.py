import pytest

from llmtrace.storage.ledger import MAX_STEP_BACK
from llmtrace.storage.ledger_clock import ServerClock, SteadyClock, system_clock
from llmtrace.testing.ledgers import SetClock

STEP = int(MAX_STEP_BACK.total_seconds())


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


def test_the_system_counts_microseconds() -> None:
    assert 1_700_000_000_000_000 < system_clock() < 10_000_000_000_000_000


def test_a_step_back_stops_the_time_until_the_clock_is_there_again(clock: SetClock) -> None:
    steady = SteadyClock(clock)
    began = steady.read()
    clock.step(-STEP)
    assert steady.read() == began
    clock.step(STEP + 1)
    assert steady.read() == began + 1_000_000


def test_a_long_step_back_is_followed_and_told(
    clock: SetClock, caplog: pytest.LogCaptureFixture
) -> None:
    steady = SteadyClock(clock)
    began = steady.read()
    clock.step(-STEP - 1)
    assert steady.read() == began - (STEP + 1) * 1_000_000
    assert f"set back by {STEP + 1} s" in caplog.text


@pytest.mark.parametrize(("ahead", "believed"), [(0, True), (STEP, True), (STEP + 1, False)])
def test_what_others_have_seen_is_believed_within_bounds(
    clock: SetClock, ahead: int, believed: bool
) -> None:
    steady = SteadyClock(clock)
    seen = clock.now + ahead * 1_000_000
    assert steady.read_after(seen) == (seen if believed else clock.now)
    assert steady.read() == (seen if believed else clock.now)
    assert steady.read_after(0) == steady.read()


def test_a_server_tells_the_time_once_it_has_answered(clock: SetClock) -> None:
    server = ServerClock(clock)
    assert not server.told
    assert server() == clock.now
    told = clock.now - 90_000_000
    server.observe(told)
    assert server.told
    assert server.seen == told
    assert 0 <= server() - told < 5_000_000
