"""``llmtrace models``: what reads beside the rules, and what it is worth."""

from pathlib import Path
from typing import Any

import click

from llmtrace.analyzers.base import Context
from llmtrace.analyzers.model import SHIPPED, BadModel, Manifest, ModelAnalyzer, read_manifest
from llmtrace.cli.common import config_option, json_option, print_json, print_table, read_config
from llmtrace.cli.modeleval import evaluate
from llmtrace.config import Config


@click.group(no_args_is_help=True)
def models() -> None:
    """See and measure the model that reads beside the rules."""


def _folder(config: Config) -> Path:
    named = config.security_analysis.ml_model
    return SHIPPED if named in (None, "shipped") else Path(str(named))


def _facts(folder: Path, manifest: Manifest, *, used: bool) -> dict[str, Any]:
    size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    return {
        "name": manifest.name,
        "version": manifest.version,
        "used": used,
        "folder": str(folder),
        "size_mb": round(size / 1e6, 1),
        "window_tokens": manifest.window,
        "entities": sorted(manifest.entities.values()),
        "seal": manifest.seal,
    }


@models.command("list")
@config_option
@json_option
def list_models(config: Path | None, *, as_json: bool) -> None:
    """Show the model that is shipped and the one that is configured."""
    settings = read_config(config)
    used = settings.security_analysis.ml_model
    folders = {SHIPPED: used == "shipped"}
    if used not in (None, "shipped"):
        folders[_folder(settings)] = True
    try:
        rows = [_facts(f, read_manifest(f), used=active) for f, active in folders.items()]
    except BadModel as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        print_json(rows)
        return
    columns = ("name", "version", "used", "size_mb", "window_tokens", "seal")
    print_table(columns, [[str(row[column]) for column in columns] for row in rows])


@models.command()
@config_option
def verify(config: Path | None) -> None:
    """Check the configured model's files, load it, and let it read a text."""
    folder = _folder(read_config(config))
    try:
        manifest = read_manifest(folder)
        seen = ModelAnalyzer(manifest).inspect("What is the capital of Norway?", Context())
    except BadModel as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{manifest.name} {manifest.version} in {folder}: whole; reads ({seen.attack:.3f})")


models.add_command(evaluate)
