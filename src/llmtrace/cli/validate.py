"""``llmtrace validate``: check a configuration without starting anything."""

from pathlib import Path

import click

from llmtrace.cli.common import config_option, json_option, print_json, read_config


@click.command()
@config_option
@json_option
def validate(config: Path | None, as_json: bool) -> None:
    """Check a configuration file; exit with 2 and name line and key if it is not good."""
    settings = read_config(config)
    if as_json:
        print_json(settings.model_dump(mode="json"))
        return
    click.echo(f"{config or 'the default configuration'} is valid")
    click.echo(f"  forward proxy  {settings.listen}")
    click.echo(f"  base-URL mode  {settings.reverse.listen or 'off'}")
    click.echo(f"  own interface  {settings.api.listen}")
    click.echo(f"  traces         {settings.storage.profile}")
    click.echo(f"  other hosts    {'tunnelled' if settings.egress == 'tunnel' else 'refused'}")
