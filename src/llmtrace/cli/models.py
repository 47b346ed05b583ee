"""``llmtrace models``: what reads beside the rules, and what it is worth."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click
from pydantic import ValidationError

from llmtrace.analyzers.base import Context
from llmtrace.analyzers.model import (
    BadModel,
    HubCache,
    HubSpec,
    ModelAnalyzer,
    NotFetched,
    fetch,
    is_own,
    load_hub,
)
from llmtrace.app.models import SHIPPED as SHIPPED_NAME
from llmtrace.app.models import Wanted, cache_of, describe, hub_of, load, spec_of, wanted
from llmtrace.cli.common import config_option, json_option, print_json, print_table, read_config
from llmtrace.cli.modeleval import evaluate
from llmtrace.config import Config
from llmtrace.config.ml import HubModelConfig, is_hub_id
from llmtrace.environment.gateway import health

SEALED: Final = "as sealed"
UNSEALED: Final = "no seal"
"""The files are there and say what is needed; whether the network loads, ``verify`` tells."""
PROBE: Final = "What is the capital of Norway?"
COLUMNS: Final = ("name", "version", "used", "state", ">size_mb", ">window_tokens", "seal")
RUNNING: Final = (">texts", ">windows", ">p50_ms", ">p95_ms", ">p99_ms", ">load_ms")
"""What a gateway that runs says of its models."""


@click.group(no_args_is_help=True)
def models() -> None:
    """See, fetch, check and measure the models that read beside the rules."""


@models.command("list")
@config_option
@json_option
def list_models(config: Path | None, *, as_json: bool) -> None:
    """Show the models that are shipped, configured or fetched.

    No network is loaded: "as sealed" means that the files are those that were shipped or fetched,
    "no seal" that they are there, and nobody noted their checksums; 'llmtrace models verify' loads
    them. Of a gateway that runs with this configuration it says how long texts take, too. Exits
    with 1 where the files of a model that is used are missing or others.
    """
    settings = read_config(config)
    running = {row["name"]: row for row in _running(settings)}
    rows = [{**row, "running": running.get(row["name"])} for row in _rows(settings)]
    if as_json:
        print_json(rows)
    else:
        columns = [*COLUMNS, *(RUNNING if running else ())]
        print_table(columns, [[_cell(row, one.lstrip(">")) for one in columns] for row in rows])
        for row in rows:
            if "why" in row:
                click.echo(f"{row['name']}: {str(row['why']).removeprefix(row['name'] + ': ')}")
    sys.exit(1 if any(row["used"] and "why" in row for row in rows) else 0)


def _running(settings: Config) -> list[Mapping[str, Any]]:
    said = (health(settings.api.listen) or {}).get("models")
    return [row for row in said if isinstance(row, dict)] if isinstance(said, list) else []


def _rows(settings: Config) -> Iterator[Mapping[str, Any]]:
    """Yield a row for each model: what is used first, then what could be."""
    used = wanted(settings)
    if all(one.name != SHIPPED_NAME for one in used):
        yield _row(Wanted(key="", name=SHIPPED_NAME), settings, used=False)
    for one in used:
        yield _row(one, settings, used=True)
    names = {one.name for one in used}
    for found in cache_of(settings).all():
        if found.id not in names and is_hub_id(found.id):
            hub = HubModelConfig(id=found.id, revision=found.commit)
            yield _row(Wanted(key="", name=found.id, hub=hub), settings, used=False)


def _row(one: Wanted, settings: Config, *, used: bool) -> Mapping[str, Any]:
    try:
        manifest = describe(one, settings)
    except BadModel as error:
        state = "not fetched" if isinstance(error, NotFetched) else "unusable"
        return {"name": one.name, "used": used, "state": state, "why": str(error)}
    size = sum(file.stat().st_size for file in manifest.folder.rglob("*") if file.is_file())
    return {
        "name": manifest.name,
        "version": manifest.version,
        "used": used,
        "state": UNSEALED if one.folder and not is_own(one.folder) else SEALED,
        "folder": str(manifest.folder),
        "size_mb": round(size / 1e6, 1),
        "window_tokens": manifest.window,
        "entities": sorted(set(manifest.entities.values())),
        "attacks": bool(manifest.scales),
        "seal": manifest.seal,
    }


def _cell(row: Mapping[str, Any], column: str) -> str:
    if column == "version":
        return str(row.get(column, ""))[:12]
    value = row.get(column, (row["running"] or {}).get(column))
    return "" if value is None else str(value)


@models.command("fetch")
@click.argument("name", metavar="ID")
@click.option("--revision", metavar="R", help="Branch, tag or commit.  [default: as configured]")
@click.option("--file", metavar="PATH", help="The ONNX file in it.  [default: as configured]")
@config_option
def fetch_model(name: str, revision: str | None, file: str | None, config: Path | None) -> None:
    """Fetch the model ID (owner/name) from the hub, check it, and pin its revision.

    A token for private and gated models is read from HF_TOKEN.
    """
    settings = read_config(config)
    spec = spec_of(_asked(_hub(settings, name), revision, file))
    if settings.ml.offline:
        raise click.ClickException("ml.offline is true: nothing is fetched")
    try:
        made = fetch(spec, cache_of(settings), hub_of(settings, progress=sys.stderr.isatty()))
    except BadModel as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{made.id} {made.commit} in {made.folder}")
    for file_name, seal in sorted(made.files.items()):
        click.echo(f"  {seal}  {file_name}")
    _try(spec, cache_of(settings), settings)


def _asked(one: HubModelConfig, revision: str | None, file: str | None) -> HubModelConfig:
    """Return what is asked for: as configured, but for what was said. Ends the program if bad."""
    said = {"revision": revision, "file": file}
    try:
        return HubModelConfig(**{**one.model_dump(), **{k: v for k, v in said.items() if v}})
    except ValidationError as error:
        key = error.errors()[0]["loc"][0]
        raise click.UsageError(f"--{key}: {said.get(str(key))!r} cannot be one") from None


def _try(spec: HubSpec, cache: HubCache, settings: Config) -> None:
    try:
        load_hub(spec, cache, point=settings.security_analysis.operating_point)
    except BadModel as error:
        raise click.ClickException(f"it was fetched, and cannot be used yet: {error}") from error


def _hub(settings: Config, name: str) -> HubModelConfig:
    """Return how a model is configured to be read. Ends the program where it is no id."""
    if not is_hub_id(name):
        raise click.UsageError(f"{name!r} is no id of a hub; write owner/name")
    return next((one for one in settings.ml.models if one.id == name), HubModelConfig(id=name))


@models.command()
@click.argument("names", nargs=-1, metavar="[ID]...")
@config_option
def verify(names: Sequence[str], config: Path | None) -> None:
    """Check the files of the configured models, or of those named, load them, and let them read."""
    settings = read_config(config)
    chosen = [_chosen(settings, name) for name in names] or wanted(settings)
    faults = 0
    for one in chosen or [Wanted(key="", name=SHIPPED_NAME)]:
        try:
            click.echo(_verified(load(one, settings)))
        except BadModel as error:
            faults += 1
            click.echo(f"Error: {error}", err=True)
    sys.exit(1 if faults else 0)


def _chosen(settings: Config, name: str) -> Wanted:
    if name == SHIPPED_NAME:
        return Wanted(key="", name=name)
    return Wanted(key="", name=name, hub=_hub(settings, name))


def _verified(made: ModelAnalyzer) -> str:
    manifest = made.manifest
    try:
        seen = made.inspect(PROBE, Context())
    except Exception as error:  # whatever it is, a text cannot be read
        kind = type(error).__name__
        raise BadModel(f"{manifest.folder}: cannot read a sentence ({kind})") from error
    return (
        f"{manifest.name} {manifest.version} in {manifest.folder}: whole; reads ({seen.attack:.3f})"
    )


models.add_command(evaluate)
