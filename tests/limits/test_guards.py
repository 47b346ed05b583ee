import threading

import pytest

from llmtrace.config.limits import RunawayConfig
from llmtrace.limits import guards
from llmtrace.limits.guards import Background, guard_of, needs_ledger, settings_of
from llmtrace.limits.tally import MemoryTally


def events(_name: str, _label: str) -> None:
    """Count nothing."""


@pytest.mark.parametrize(
    ("config", "needs"),
    [
        pytest.param({}, False, id="default"),
        pytest.param({"action": "stop"}, True, id="stop"),
        pytest.param({"action": "stop", "enabled": False}, False, id="off"),
    ],
)
def test_a_ledger_is_needed_where_agents_are_stopped(
    config: dict[str, object], needs: bool
) -> None:
    assert needs_ledger(RunawayConfig.model_validate(config)) is needs


def test_nobody_is_watched_where_it_is_off() -> None:
    assert guard_of(RunawayConfig(enabled=False), None, on_event=events) is None


@pytest.mark.parametrize("ledger", [MemoryTally(), None], ids=["ledger", "none"])
def test_without_a_ledger_nobody_is_stopped(ledger: MemoryTally | None) -> None:
    guard = guard_of(RunawayConfig(action="stop"), ledger, on_event=events)
    assert guard is not None
    assert guard.settings.stops is (ledger is not None)


def test_settings_are_in_seconds_and_nano_usd() -> None:
    config = RunawayConfig.model_validate(
        {"window_minutes": 5, "hold_minutes": 2, "velocity_least_usd": "0.5"}
    )
    settings = settings_of(config, stops=True)
    assert (settings.window_seconds, settings.hold_seconds) == (300, 120)
    assert settings.velocity_least == 500_000_000


def test_works_are_done_in_their_order_and_before_it_closes() -> None:
    done: list[int] = []
    background = Background()
    for number in range(50):
        background.put(lambda number=number: done.append(number))  # type: ignore[misc]  # bound here
    background.close()
    assert done == list(range(50))


def test_a_work_that_fails_does_not_end_the_others(caplog: pytest.LogCaptureFixture) -> None:
    done: list[int] = []
    background = Background()
    background.put(lambda: [][1])
    background.put(lambda: done.append(1))
    background.close()
    assert done == [1]
    assert "was not counted" in caplog.text


def test_what_is_too_much_is_left_undone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(guards, "MOST_WAITING", 2)
    held, done = threading.Event(), list[int]()
    background = Background()
    background.put(lambda: done.append(-1) if held.wait(5) else None)
    for number in range(9):
        background.put(lambda number=number: done.append(number))  # type: ignore[misc]  # bound here
    held.set()
    background.close()
    assert len(done) <= 4
    assert "some calls are not" in caplog.text
