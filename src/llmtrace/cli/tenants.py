"""``llmtrace tenants``: who pays."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click

from llmtrace.app.accounts import Accounts, accounts
from llmtrace.app.settings import Settings
from llmtrace.cli.common import config_option, json_option, print_json, print_table, read_config
from llmtrace.domain.traces import Tenant
from llmtrace.environment.home import Home, home
from llmtrace.environment.program import program
from llmtrace.storage.base import StorageError
from llmtrace.storage.keys import TooManyKeys


@contextmanager
def opened(config: Path | None) -> Iterator[Accounts]:
    """Open tenants and keys; what goes wrong becomes an error for people."""
    settings = Settings(config=read_config(config), home=Home(home()))
    try:
        with accounts(settings) as found:
            yield found
    except (LookupError, ValueError, TooManyKeys, StorageError) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{settings.home.path}: {error.strerror or error}") from error


@click.group()
def tenants() -> None:
    """List, create and delete tenants: who pays for calls."""


@tenants.command(
    epilog="""\b
Examples:
    llmtrace tenants create acme --name 'ACME Inc.'
    llmtrace keys create --tenant acme
"""
)
@config_option
@click.argument("tenant_id", metavar="ID")
@click.option("--name", default="", help="What people call it. Default: its id.")
@click.option("--plan", default="", help="What it has booked; a note for people.")
@json_option
def create(config: Path | None, tenant_id: str, name: str, plan: str, as_json: bool) -> None:
    """Create a tenant. Calls are its own when they are made with one of its keys."""
    with opened(config) as found:
        tenant = found.create_tenant(tenant_id, name=name, plan=plan)
    if as_json:
        print_json(_row(tenant))
    else:
        hint = f"{program()} keys create --tenant {tenant.id}"
        click.echo(f"created tenant {tenant.id}; a key: {hint}")


@tenants.command("list")
@config_option
@json_option
def list_(config: Path | None, as_json: bool) -> None:
    """List tenants, those too that came to be when they were met first."""
    with opened(config) as found:
        rows = [_row(tenant) for tenant in found.tenants()]
    if as_json:
        print_json(rows)
    elif not rows:
        click.echo("there are no tenants yet", err=True)
    else:
        columns = ("tenant", "name", "plan", "created_at")
        print_table(columns, [[str(row[column]) for column in columns] for row in rows])


@tenants.command()
@config_option
@click.argument("tenant_id", metavar="ID")
@json_option
def show(config: Path | None, tenant_id: str, as_json: bool) -> None:
    """Show a tenant and how many keys of it work."""
    with opened(config) as found:
        row = {**_row(found.tenant(tenant_id)), "keys": len(found.keys(tenant=tenant_id))}
    if as_json:
        print_json(row)
    else:
        print_table(("", ""), [[name, str(value)] for name, value in row.items()])


@tenants.command()
@config_option
@click.argument("tenant_id", metavar="ID")
@json_option
def delete(config: Path | None, tenant_id: str, as_json: bool) -> None:
    """Delete a tenant that has no key. What was recorded of its calls stays."""
    with opened(config) as found:
        found.delete_tenant(tenant_id)
    if as_json:
        print_json({"tenant": tenant_id, "deleted": True})
    else:
        click.echo(f"deleted tenant {tenant_id}")


def _row(tenant: Tenant) -> Mapping[str, object]:
    return {
        "tenant": tenant.id,
        "name": tenant.name,
        "plan": tenant.plan,
        "created_at": tenant.created_at.isoformat(timespec="seconds"),
    }
