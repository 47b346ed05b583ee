"""What a configuration turns on, and who is known to be gone."""

from pathlib import Path
from typing import Any

import pytest

from llmtrace.app.limits import (
    _trusts,
    desk_of,
    watch_of,
    worker_limits,
)
from llmtrace.app.recoveries import is_limited
from llmtrace.app.settings import Settings
from llmtrace.config import load
from llmtrace.environment.home import Home
from llmtrace.pipeline.counters import Counters
from llmtrace.providers.pricing import PriceBook
from llmtrace.storage.ledger import Admission, Node
from llmtrace.storage.sqlite_ledger import SqliteLedger
from llmtrace.testing.budgets import room_for

NOON = 1_795_262_400_000_000
STOPS = {"runaway": {"enabled": True, "action": "stop"}}
RATES = {"rate_limiting": {"enabled": True}}


def settings(folder: Path, **overrides: Any) -> Settings:
    made = Settings(config=load(environ={}, overrides=overrides), home=Home(folder / "home"))
    made.prepare()
    return made


@pytest.mark.parametrize(
    ("overrides", "limited"),
    [
        pytest.param({}, False, id="nothing"),
        pytest.param(room_for(1), True, id="budgets"),
        pytest.param(RATES, True, id="rates"),
        pytest.param(STOPS, True, id="stops"),
        pytest.param({"runaway": {"enabled": True, "action": "warn"}}, False, id="warnings"),
    ],
)
async def test_a_ledger_is_opened_where_something_needs_it(
    tmp_path: Path, overrides: dict[str, Any], limited: bool
) -> None:
    made = settings(tmp_path, **overrides)
    assert is_limited(made.config) is limited
    held_to = worker_limits(made, Counters(), prices=PriceBook())
    assert (held_to.desk is not None) is limited
    assert (held_to.admissions is not None) is (limited and overrides is not STOPS)
    assert made.shared_database.exists() is limited
    await held_to.close(0.1)


def test_nobody_is_watched_where_the_guard_is_off() -> None:
    config = load(environ={}, overrides={"runaway": {"enabled": False}})
    assert watch_of(config, Counters()) is None
    assert watch_of(load(environ={}), Counters()) is not None


async def test_headers_are_believed_of_trusted_peers_where_a_rate_goes_by_one(
    tmp_path: Path,
) -> None:
    header = {"name": "x-team", "requests_per_second": 1}
    made = settings(
        tmp_path,
        rate_limiting={"enabled": True, "headers": [header]},
        identity={"trusted_proxies": ["10.0.0.0/8"]},
    )
    trusts = _trusts(made.config)
    assert trusts("10.1.2.3")
    assert not trusts("192.0.2.1")
    assert not _trusts(load(environ={}))("10.1.2.3")


async def test_where_nothing_is_recorded_leases_end_all_the_same(tmp_path: Path) -> None:
    made = settings(tmp_path, storage={"profile": "memory"}, **room_for(1))
    at = [NOON]
    ledger = SqliteLedger.at(tmp_path / "limits.sqlite", clock=lambda: at[0])
    node = Node(key="k", unit="usd", limit=None, ends=None)
    ledger.admit(Admission(id="dead", tenant="t", amounts={"usd": 5}, nodes=(node,)))
    at[0] += 901 * 1_000_000
    desk = desk_of(made, ledger, Counters())
    desk._on_beat()
    assert ledger.open() == []
    assert ledger.standings("t", ["k"])["k"].spent == 5
    await desk.close(0.1)
