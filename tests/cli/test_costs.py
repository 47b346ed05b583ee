import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import Result

from llmtrace.cli.costs import _money, _tokens
from llmtrace.limits.budgets import node_key
from llmtrace.limits.windows import Period
from llmtrace.storage.ledger import Admission, Node
from llmtrace.storage.sqlite_ledger import SqliteLedger
from llmtrace.testing.records import a_record

type Run = Callable[..., Result]
NOW = datetime.now(UTC)


@pytest.fixture
def kept(keep: Callable[..., None]) -> None:
    keep(
        a_record(1, started_at=NOW, agent="builder", cost_nano_usd=2_500_000_000),
        a_record(2, started_at=NOW, agent="builder", plan="claude-subscription"),
        a_record(3, started_at=NOW, agent="re\x1bviewer", cost_nano_usd=None),
        a_record(4, started_at=NOW - timedelta(days=2), agent="old", cost_nano_usd=10**9),
    )


@pytest.mark.usefixtures("kept")
def test_a_table_has_money_and_plans_apart(run: Run) -> None:
    result = run("costs", "--since", "1d")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["agent", "calls", "in", "cached", "out", "cost", "plan", "calls?"]
    assert lines[1].split() == ["builder", "2", "1.80k", "800", "200", "$2.50", "$0.0013", "0"]
    assert lines[-1].split()[0] == "total"
    assert "\x1b" not in result.stdout
    assert "$2.50 charged, $0.0013 not charged (subscriptions), 1 call unpriced" in result.stderr


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--by", "day", "--since", "1d"], 1),
        (["--by", "model"], 1),
        (["--by", "tenant"], 1),
        (["--since", "7d"], 3),
        (["--agent", "old"], 1),
        (["--until", "1d"], 1),
    ],
    ids=range(6),
)
def test_json_sums_up_what_is_asked(run: Run, words: list[str], names: int) -> None:
    said = json.loads(run("costs", "--json", *words).stdout)
    assert len(said["costs"]) == names
    assert said["total"]["calls"] == sum(row["calls"] for row in said["costs"])
    assert said["budgets"] is None


@pytest.mark.usefixtures("kept")
def test_nothing_in_the_time_is_said(run: Run) -> None:
    result = run("costs", "--agent", "nobody")
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "no calls in this time" in result.stderr


@pytest.mark.usefixtures("kept")
def test_budgets_stand_below(run: Run, home: Path, tmp_path: Path) -> None:
    end = NOW + timedelta(hours=3)
    node = Node(
        key=node_key("agent", "builder", "daily", Period(NOW, end)),
        unit="usd",
        limit=20_000_000_000,
        ends=end,
    )
    ledger = SqliteLedger.at(home / "limits.sqlite")
    ledger.admit(Admission(id="1", tenant="t", amounts={"usd": 5 * 10**9}, nodes=(node,)))
    ledger.close()
    config = tmp_path / "llmtrace.yaml"
    config.write_text("cost_caps: {enabled: true}\n")
    lines = run("costs", "-c", config).stdout.splitlines()
    assert lines[-2].split()[:2] == ["budget", "tenant"]
    assert lines[-1].split()[:8] == [
        "agent",
        "builder",
        "t",
        "daily",
        "$0",
        "$5.00",
        "$20.00",
        "$15.00",
    ]
    (budget,) = json.loads(run("costs", "-c", config, "--json").stdout)["budgets"]
    assert budget["reserved_usd"] == 5.0


@pytest.mark.usefixtures("kept")
def test_a_cap_of_which_nothing_is_spent_is_shown(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "llmtrace.yaml"
    caps = "default_budget_caps: [{window: total, hard_limit_usd: 20}]"
    config.write_text(f"cost_caps: {{enabled: true, {caps}}}\n")
    done = run("costs", "-c", config)
    assert done.stdout.splitlines()[-1].split() == [
        "agent", "(each)", "(each)", "total", "$0", "$0", "$20.00", "$20.00", "0%", "never",
    ]  # fmt: skip
    assert "no budgets" not in done.stderr
    assert json.loads(run("costs", "-c", config, "--json").stdout)["budgets"] == []


@pytest.mark.usefixtures("kept")
def test_where_no_budget_is_configured_that_is_said(run: Run, tmp_path: Path) -> None:
    said = "no budgets in this configuration; name it with --config FILE\n"
    assert said in run("costs").stderr
    config = tmp_path / "llmtrace.yaml"
    config.write_text("cost_caps: {default_budget_caps: [{window: daily, hard_limit_usd: 20}]}\n")
    assert (
        f"no budgets in {config}: cost_caps.enabled is false\n" in run("costs", "-c", config).stderr
    )
    config.write_text("cost_caps: {enabled: true}\n")
    assert f"no budgets in {config}\n" in run("costs", "-c", config).stderr


def test_where_nothing_was_kept_the_way_on_is_said(run: Run) -> None:
    result = run("costs")
    assert result.exit_code == 1
    assert "there are no traces yet" in result.stderr


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (None, "-"),
        (0, "$0"),
        (12_345_678, "$0.0123"),
        (12_340_000_000, "$12.34"),
        (12_345 * 10**9, "$12345"),
        (2**53 - 1, "$9007199"),
    ],
    ids=range(6),
)
def test_money_takes_eight_letters_at_most(nano: int | None, text: str) -> None:
    assert _money(nano) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1_000, "1.00k"),
        (12_345, "12.3k"),
        (999_999, "1000k"),
        (4_560_000, "4.56M"),
        (10**13, "10000G"),
    ],
    ids=range(7),
)
def test_tokens_take_six_letters(count: int, text: str) -> None:
    assert _tokens(count) == text
