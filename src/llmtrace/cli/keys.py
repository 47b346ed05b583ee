"""``llmtrace keys``: who may call."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import click

from llmtrace.cli.ahead import Ahead, Duration
from llmtrace.cli.common import config_option, json_option, print_json, print_table
from llmtrace.cli.filters import OneOf
from llmtrace.cli.tenants import opened
from llmtrace.domain.ids import DEFAULT_TENANT
from llmtrace.storage.keys import Key, Role

ONCE: Final = (
    "it is shown this once; HTTPS_PROXY=http://AGENT:KEY@host:port puts an agent behind it"
)


@click.group()
def keys() -> None:
    """Make, list, revoke and rotate LLMTrace keys."""


@keys.command(
    epilog="""\b
Examples:
    llmtrace keys create --tenant acme --agent reviewer --expires 90d
    export LLMTRACE_KEY=$(llmtrace keys create --tenant acme)
"""
)
@config_option
@click.option("--tenant", default=DEFAULT_TENANT, show_default=True, help="Who pays for its calls.")
@click.option("--agent", default="", help="Who acts with it. Default: who holds it says so.")
@click.option(
    "--role",
    type=OneOf(Role),
    default=Role.OPERATOR.value,
    show_default=True,
    help="admin manages, operator calls models, viewer only reads.",
)
@click.option("--name", default="", help="What it is for; a note for people.")
@click.option("--expires", type=Ahead(), help="When it ends: 24h, 90d, or ISO 8601.")
@json_option
def create(
    config: Path | None,
    tenant: str,
    agent: str,
    role: Role,
    name: str,
    expires: datetime | None,
    as_json: bool,
) -> None:
    """Make a key and print it. What is kept of it cannot be turned back into it."""
    with opened(config) as found:
        key, token = found.create_key(
            tenant=tenant, agent=agent, role=role, name=name, expires_at=expires
        )
    _tell(key, token, as_json=as_json)


@keys.command("list")
@config_option
@click.option("--tenant", help="Those of one tenant.")
@click.option("--all", "ended", is_flag=True, help="Those too that are revoked or expired.")
@json_option
def list_(config: Path | None, tenant: str | None, ended: bool, as_json: bool) -> None:
    """List keys, oldest first; never the keys themselves."""
    with opened(config) as found:
        rows = [_row(key) for key in found.keys(tenant=tenant, ended=ended)]
    if as_json:
        print_json(rows)
    elif not rows:
        click.echo("no keys match", err=True)
    else:
        columns = ("id", "tenant", "agent", "role", "state", "created_at", "expires_at", "name")
        print_table(columns, [[str(row[column] or "-") for column in columns] for row in rows])


@keys.command()
@config_option
@click.argument("key_id", metavar="ID")
@json_option
def revoke(config: Path | None, key_id: str, as_json: bool) -> None:
    """Make a key useless, for good. A running gateway knows within 2 seconds."""
    with opened(config) as found:
        key = found.revoke_key(key_id)
    if as_json:
        print_json(_row(key))
    else:
        click.echo(f"revoked key {key.id} of tenant {key.tenant}")


@keys.command(
    epilog="""\b
Example:
    llmtrace keys rotate a1B2c3D4e5F6 --grace 1h
"""
)
@config_option
@click.argument("key_id", metavar="ID")
@click.option(
    "--grace",
    type=Duration(),
    default="0",
    show_default=True,
    help="How long the old key is good beside the new one: 10m, 24h.",
)
@json_option
def rotate(config: Path | None, key_id: str, grace: timedelta, as_json: bool) -> None:
    """Give a key another secret and print it. Its id, and so its budgets, stay."""
    with opened(config) as found:
        key, token = found.rotate_key(key_id, grace=grace)
    _tell(key, token, as_json=as_json)


def _tell(key: Key, token: str, *, as_json: bool) -> None:
    """Print a key, alone on standard output so that it can be put where it belongs."""
    if as_json:
        print_json({**_row(key), "key": token})
        return
    click.echo(token)
    whose = f"tenant {key.tenant}" + (f", agent {key.agent}" if key.agent else "")
    click.echo(f"key {key.id} of {whose}, role {key.role}; {ONCE}", err=True)
    if key.previous_until:
        click.echo(f"the old key is good until {_time(key.previous_until)}", err=True)


def _row(key: Key) -> Mapping[str, object]:
    return {
        "id": key.id,
        "tenant": key.tenant,
        "agent": key.agent,
        "role": key.role,
        "state": _state(key),
        "name": key.name or key.run,
        "created_at": _time(key.created_at),
        "expires_at": _time(key.expires_at),
        "revoked_at": _time(key.revoked_at),
        "rotated_at": _time(key.rotated_at),
    }


def _state(key: Key) -> str:
    if key.revoked_at:
        return "revoked"
    return "works" if key.works(datetime.now(UTC)) else "expired"


def _time(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="seconds") if moment else None
