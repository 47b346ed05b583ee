from pathlib import Path

import pytest

from llmtrace.testing import redis
from llmtrace.testing.ledgers import (
    DAY,
    LEDGERS,
    NEED_REDIS,
    NOON,
    SetClock,
    admit,
    call,
    deny,
    settle,
    sums,
)


@pytest.mark.parametrize("name", LEDGERS)
def test_a_ledger_of_the_kit_goes_by_the_clock_it_is_given(name: str, tmp_path: Path) -> None:
    if name in NEED_REDIS and not redis.installed():
        pytest.skip(redis.MISSING)
    clock = SetClock()
    ledger = LEDGERS[name](tmp_path, clock)
    clock.step(1.5)
    assert (ledger.now() - NOON).total_seconds() == 1.5
    ledger.close()


def test_a_call_of_the_kit_is_admitted_denied_and_settled(tmp_path: Path) -> None:
    ledger = LEDGERS["sqlite"](tmp_path, SetClock())
    assert admit(ledger, call("1", 900, DAY)).standings[0].reserved == 900
    assert deny(ledger, call("2", 900, DAY)).node == DAY
    with pytest.raises(AssertionError):
        admit(ledger, call("2", 900, DAY))
    with pytest.raises(AssertionError):
        deny(ledger, call("3", 0, DAY))
    assert settle(ledger, "1", usd=5).first
    assert sums(ledger, DAY) == [(5, 0)]
    ledger.close()
