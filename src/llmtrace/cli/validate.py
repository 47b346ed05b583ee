"""``llmtrace validate``: check a configuration without starting anything."""

from pathlib import Path

import click

from llmtrace.cli.checking import require_usable
from llmtrace.cli.common import config_option, json_option, print_json, read_config


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

    Exits with 2 and names line and key of what is wrong. --json prints the configuration as
    it will be used, without its secrets.
    """
    settings = read_config(config)
    require_usable(settings)
    if as_json:
        print_json(settings.model_dump(mode="json"))
        return
    proxy = "through upstream_proxy" if settings.upstream_proxy else "directly"
    days = settings.storage.retention_days
    kept = f"for {days} days" if days else "for ever"
    click.echo(f"{config or 'the default configuration'} is valid")
    click.echo(f"  forward proxy  {settings.listen}")
    click.echo(f"  base-URL mode  {settings.reverse.listen or 'off'}")
    click.echo(f"  health         {settings.api.listen}")
    click.echo(f"  goes out       {proxy}")
    click.echo(f"  other hosts    {'tunnelled' if settings.egress == 'tunnel' else 'refused'}")
    click.echo(f"  traces         {settings.storage.profile}, {kept}")
