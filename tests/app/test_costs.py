from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from llmtrace.app import costs as module
from llmtrace.app.costs import BY, costs_of, costs_report
from llmtrace.app.ledgers import ledger_of
from llmtrace.app.settings import Settings
from llmtrace.app.stores import open_storage
from llmtrace.config import Config
from llmtrace.environment.home import Home
from llmtrace.limits.budgets import node_key
from llmtrace.limits.windows import Period
from llmtrace.storage.base import TraceQuery
from llmtrace.storage.ledger import Admission, Node, Settlement
from llmtrace.storage.memory import MemoryTraceRepository
from llmtrace.storage.registry import close
from llmtrace.testing.records import a_record

NOW = datetime.now(UTC)
TOMORROW = NOW + timedelta(days=1)


def settings_of(tmp_path: Path, **config: Any) -> Settings:
    settings = Settings(config=Config.model_validate(config), home=Home(tmp_path))
    settings.prepare()
    return settings


def keep(settings: Settings) -> None:
    storage = open_storage(settings)
    storage.traces.put(
        [
            a_record(1, started_at=NOW, agent="a", cost_nano_usd=2_000_000_000),
            a_record(2, started_at=NOW, agent="b", plan="p", cost_nano_usd=1_000_000_000),
            a_record(3, started_at=NOW - timedelta(days=60), agent="a", cost_nano_usd=7),
        ]
    )
    close(storage)


def spend(settings: Settings) -> None:
    key = node_key("agent", "a", "daily", Period(NOW, TOMORROW))
    node = Node(key=key, unit="usd", limit=20_000_000_000, ends=TOMORROW)
    ledger = ledger_of(settings)
    ledger.admit(Admission(id="1", tenant="acme", amounts={"usd": 5}, nodes=(node,)))
    ledger.settle(
        [Settlement(id="1", tenant="acme", kind="settle", amounts={"usd": 3_000_000_000})]
    )
    ledger.admit(Admission(id="2", tenant="acme", amounts={"usd": 1_000_000_000}, nodes=(node,)))
    ledger.close()


CAPS = {"cost_caps": {"enabled": True}}


def told(settings: Settings, **asked: str) -> Any:
    return costs_of(settings, asked)


def test_costs_and_budgets_are_told_together(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, **CAPS)
    keep(settings)
    spend(settings)
    said = told(settings)
    assert said["by"] == "agent"
    assert [(row["agent"], row["cost_usd"], row["plan_cost_usd"]) for row in said["costs"]] == [
        ("a", 2.0, 0.0),
        ("b", 0.0, 1.0),
    ]
    assert said["total"]["calls"] == 2
    (budget,) = said["budgets"]
    assert (budget["spent_usd"], budget["reserved_usd"]) == (3.0, 1.0)
    assert (budget["limit_usd"], budget["remaining_usd"]) == (20.0, 16.0)
    assert budget["resets_at"] == f"{TOMORROW:%Y-%m-%dT%H:%M:%SZ}"


def test_without_budgets_the_ledger_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(tmp_path)
    keep(settings)
    monkeypatch.setattr(module, "ledger_of", None)
    assert costs_of(settings, {})["budgets"] is None


def test_before_the_first_call_there_is_nothing(tmp_path: Path) -> None:
    said = told(settings_of(tmp_path))
    assert said["costs"] == []


def test_only_what_is_asked_for(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    keep(settings)
    assert [row["agent"] for row in told(settings, agent="b")["costs"]] == ["b"]
    assert told(settings, since="90d")["total"]["calls"] == 3
    assert told(settings, until="1d")["costs"] == []
    assert told(settings, tenant="other")["costs"] == []


@pytest.mark.parametrize(
    ("asked", "message"),
    [({"by": "name"}, "expected one of agent, model"), ({"since": "x"}, "neither ISO 8601")],
    ids=["by", "since"],
)
def test_a_word_that_is_wrong_is_refused(
    tmp_path: Path, asked: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        costs_of(settings_of(tmp_path), asked)


def test_a_configuration_that_keeps_nothing_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"storage\.profile is memory"):
        costs_of(settings_of(tmp_path, storage={"profile": "memory"}), {})


@pytest.mark.parametrize("by", BY)
def test_the_total_is_that_of_the_rows(tmp_path: Path, by: Any) -> None:
    traces = MemoryTraceRepository()
    traces.put([a_record(n, agent=f"{n % 3}", cost_nano_usd=n) for n in range(9)])
    report = costs_report(settings_of(tmp_path), traces, TraceQuery(), by)
    assert (report.total.calls, report.total.cost_nano_usd) == (9, 36)
    assert report.document()["since"] is None


def test_days_are_those_of_the_budgets(tmp_path: Path) -> None:
    traces = MemoryTraceRepository()
    traces.put([a_record(1, started_at=datetime(2026, 3, 4, 23, 0, tzinfo=UTC))])
    caps = {"cost_caps": {"enabled": True, "time_zone": "Asia/Tokyo"}}
    report = costs_report(settings_of(tmp_path, **caps), traces, TraceQuery(), "day")
    assert [row.name for row in report.rows] == ["2026-03-05"]
