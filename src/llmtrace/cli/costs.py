"""``llmtrace costs``: what was spent, by whom, and what is left of each budget."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import click

from llmtrace.app.costs import BY, DAYS, CostsReport, costs_report
from llmtrace.app.settings import Settings
from llmtrace.cli.common import (
    config_option,
    counted,
    dollars,
    json_option,
    read_config,
    terminal_width,
)
from llmtrace.cli.filters import Moment
from llmtrace.cli.rows import Column, print_rows
from llmtrace.cli.traces import stores
from llmtrace.environment.home import Home, home
from llmtrace.limits.standings import BudgetRow
from llmtrace.providers.money import NANO
from llmtrace.storage.base import Costs, CostsBy, TraceQuery
from llmtrace.storage.codec import to_json

NOTHING_KEPT: Final = "no calls in this time"


@click.command(
    epilog="""\b
Examples:
    llmtrace costs
    llmtrace costs --config llmtrace.yaml
    llmtrace costs --by day --since 7d --agent claude-code
    llmtrace costs --by model --json | jq '.costs[] | {model, cost_usd}'

\b
Calls under a subscription login are not charged by the token. What they would have cost is
told apart, under 'plan', and is in no other sum. 'calls?' are those without a known price.
Budgets are those of the configuration: name the one that the gateway has.
"""
)
@config_option
@click.option("--by", type=click.Choice(BY), default=BY[0], show_default=True, help="Sum up by.")
@click.option(
    "--since", type=Moment(), help="From this time on: ISO 8601, or 30m, 2h, 7d. Default: 30d."
)
@click.option("--until", type=Moment(), help="Before this time.")
@click.option("--tenant", help="Who pays.")
@click.option("--agent", help="Who acts.")
@click.option("--model", help="The model that was asked, by its whole name.")
@json_option
def costs(config: Path | None, by: CostsBy, as_json: bool, **wanted: Any) -> None:
    """Tell what calls cost, from the traces, and how the budgets stand now."""
    wanted["since"] = wanted["since"] or datetime.now(UTC) - timedelta(days=DAYS)
    settings = Settings(config=read_config(config), home=Home(home()))
    with stores(config) as storage:
        report = costs_report(settings, storage.traces, TraceQuery(**wanted), by)
    if as_json:
        sys.stdout.buffer.write(to_json(report.document()) + b"\n")
        sys.stdout.buffer.flush()
        return
    _show(report, config)


def _show(report: CostsReport, config: Path | None) -> None:
    width, total = terminal_width(), report.total
    since = report.query.since.astimezone() if report.query.since else None
    if report.rows:
        print_rows(_columns(report), [*report.rows, total], width)
    else:
        click.echo(NOTHING_KEPT, err=True)
    if budgets := [*(report.budgets or ()), *report.unspent]:
        click.echo()
        print_rows(BUDGETS, budgets, width)
    elif not report.configured:
        click.echo(_no_budgets(report, config), err=True)
    click.echo(f"since {since:%Y-%m-%d %H:%M}; " * bool(since) + _explained(report), err=True)


def _no_budgets(report: CostsReport, config: Path | None) -> str:
    """Say why none is shown."""
    if config is None:
        return "no budgets in this configuration; name it with --config FILE"
    why = ": cost_caps.enabled is false" if report.budgets is None else ""
    return f"no budgets in {config}{why}"


def _explained(report: CostsReport) -> str:
    total = report.total
    said = [f"{dollars(total.cost_nano_usd)} charged"]
    if total.plan_calls:
        said.append(f"{dollars(total.plan_nano_usd)} not charged (subscriptions)")
    if total.unpriced_calls:
        said.append(f"{counted(total.unpriced_calls, 'call')} unpriced")
    return ", ".join(said)


def _columns(report: CostsReport) -> Sequence[Column[Costs]]:
    """Return the columns; those of plans and unknown prices only where there is something."""
    total = report.total
    shown: list[Column[Costs]] = [
        Column(title=report.by, width=20, grows=40, value=lambda row: row.name or "(none)"),
        Column(title="calls", width=7, right=True, value=lambda row: f"{row.calls}"),
        Column(title="in", width=9, right=True, value=lambda row: _tokens(row.input_tokens)),
        Column(
            title="cached",
            width=9,
            least=92,
            right=True,
            value=lambda r: _tokens(r.cache_read_tokens),
        ),
        Column(title="out", width=9, right=True, value=lambda row: _tokens(row.output_tokens)),
        Column(title="cost", width=10, right=True, value=lambda row: _money(row.cost_nano_usd)),
    ]
    if total.plan_calls:
        plan = Column[Costs](
            title="plan", width=10, right=True, value=lambda row: _money(row.plan_nano_usd)
        )
        shown.append(plan)
    if total.unpriced_calls:
        unknown = Column[Costs](
            title="calls?", width=6, least=90, right=True, value=lambda row: f"{row.unpriced_calls}"
        )
        shown.append(unknown)
    return shown


def _money(nano_usd: int | None) -> str:
    """Write money in at most 8 letters: ``$0``, ``$0.0123``, ``$12.34``, ``$12345``."""
    if not nano_usd:
        return "-" if nano_usd is None else "$0"
    return dollars(nano_usd) if nano_usd < 1000 * NANO else f"${nano_usd // NANO}"


def _tokens(count: int) -> str:
    """Write a number of tokens in at most 6 letters: ``999``, ``12.3k``, ``4.56M``."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            places = max(0, 3 - len(f"{count // size}"))
            return f"{count / size:.{places}f}{letter}"
    return f"{count}"


def _resets(row: BudgetRow) -> str:
    return f"{row.resets_at.astimezone():%m-%d %H:%M}" if row.resets_at else "never"


def _used(row: BudgetRow) -> str:
    """Say how much of a limit is gone."""
    if not row.limit:
        return "-" if row.limit is None else "100%"
    return f"{(row.spent + row.reserved) / row.limit:.0%}"


BUDGETS: Final[tuple[Column[BudgetRow], ...]] = (
    Column(title="budget", width=16, grows=28, value=lambda row: f"{row.scope} {row.name}"),
    Column(title="tenant", width=16, least=118, grows=8, value=lambda row: row.tenant),
    Column(title="window", width=7, value=lambda row: row.window),
    Column(title="spent", width=8, right=True, value=lambda row: _money(row.spent)),
    Column(title="reserved", width=8, right=True, value=lambda row: _money(row.reserved)),
    Column(title="limit", width=8, right=True, value=lambda row: _money(row.limit)),
    Column(title="left", width=8, right=True, value=lambda row: _money(row.remaining)),
    Column(title="used", width=5, least=98, right=True, value=_used),
    Column(title="resets", width=11, value=_resets),
)
