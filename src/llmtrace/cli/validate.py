"""``llmtrace validate``: check a configuration without starting anything."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import click

from llmtrace.app.detection import build_policy
from llmtrace.app.models import Tried
from llmtrace.cli import limits
from llmtrace.cli.checking import require_models, require_usable
from llmtrace.cli.common import config_option, json_option, print_json, print_table, read_config
from llmtrace.config import Config
from llmtrace.config.detection import PolicyRule
from llmtrace.policy.table import PolicyTable


@click.command(
    epilog="""\b
Examples:
    llmtrace validate --config llmtrace.yaml
    LLMTRACE_WORKERS=2 llmtrace validate --json
"""
)
@config_option
@json_option
def validate(config: Path | None, as_json: bool) -> None:
    """Check a configuration: its file, the LLMTRACE_* variables, and the files that it names.

    Exits with 2 and names line and key of what is wrong. Models are loaded, and none is fetched:
    with on_error: allow, those that cannot be loaded are warned of, as is what holds nobody, such
    as budgets that are not enabled. Shows what callers are held to, and the table by which
    findings are decided: the first row that fits counts. --json prints the configuration as it will
    be used, without its secrets, that table as policy_table, and the models as models.
    """
    settings = read_config(config)
    require_usable(settings, config)
    models = require_models(settings)
    table = build_policy(settings)
    for vain in limits.in_vain(settings):
        click.echo(f"Warning: {vain}", err=True)
    if as_json:
        shown = {"policy_table": _as_json(table), "models": [asdict(one) for one in models]}
        print_json({**settings.model_dump(mode="json"), **shown})
        return
    click.echo(f"{config or 'the default configuration'} is valid")
    for name, value in (*_summary(settings), *limits.summary(settings), *_models(models)):
        click.echo(f"  {name:<14} {value}")
    if settings.security_analysis.enabled:
        click.echo()
        print_table(["rule", "kinds", ">at least", "where", "verdict"], _rows(table))


def _summary(settings: Config) -> Iterator[tuple[str, str]]:
    days = settings.storage.retention_days
    yield "forward proxy", settings.listen
    yield "base-URL mode", settings.reverse.listen or "off"
    yield "health", settings.api.listen
    yield "goes out", "through upstream_proxy" if settings.upstream_proxy else "directly"
    yield "other hosts", "tunnelled" if settings.egress == "tunnel" else "refused"
    yield "traces", f"{settings.storage.profile}, {f'for {days} days' if days else 'for ever'}"
    if not settings.security_analysis.enabled:
        yield "findings", "not looked for (security_analysis.enabled is false)"
    elif settings.mode == "observe":
        yield "findings", "recorded, nothing is done (mode: observe); with mode: enforce, as below"
    else:
        yield "findings", f"acted on as below (mode: enforce, preset {settings.policy.preset})"


def _models(models: Sequence[Tried]) -> Iterator[tuple[str, str]]:
    said = {
        "loaded": "loads",
        "not fetched": "is not fetched yet: the gateway fetches it when it starts",
        "unusable": "cannot be used: the gateway goes on without it",
    }
    for place, one in enumerate(models):
        yield "" if place else "models", f"{one.name} {said[one.state]}"


def _rows(table: PolicyTable) -> list[list[str]]:
    return [
        [rule.name, " ".join(rule.kinds), _least(rule), _where(rule), rule.verdict]
        for rule in table.rows
    ]


def _least(rule: PolicyRule) -> str:
    sure = f" {rule.confidence:g}" if rule.confidence else ""
    return f"{rule.severity}{sure}"


def _where(rule: PolicyRule) -> str:
    """Write the conditions of a row that are not for all: ``request, untrusted``."""
    said: list[Sequence[str]] = [rule.directions, rule.origins, rule.roles]
    named = {"provider": rule.providers, "tenant": rule.tenants, "agent": rule.agents}
    said += [[f"{name} {'|'.join(globs)}"] for name, globs in named.items() if globs]
    return ", ".join("|".join(values) for values in said if values) or "anywhere"


def _as_json(table: PolicyTable) -> dict[str, object]:
    rows = [rule.model_dump(mode="json") for rule in table.rows]
    return {"version": table.version, "rows": rows}
