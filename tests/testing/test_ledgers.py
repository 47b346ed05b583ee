from pathlib import Path

import pytest

from llmtrace.testing import redis
from llmtrace.testing.ledgers import LEDGERS, NEED_REDIS, NOON, SetClock


@pytest.mark.parametrize("name", LEDGERS)
def test_a_ledger_of_the_kit_goes_by_the_clock_it_is_given(name: str, tmp_path: Path) -> None:
    if name in NEED_REDIS and not redis.installed():
        pytest.skip(redis.MISSING)
    clock = SetClock()
    ledger = LEDGERS[name](tmp_path, clock)
    clock.step(1.5)
    assert (ledger.now() - NOON).total_seconds() == 1.5
    ledger.close()
