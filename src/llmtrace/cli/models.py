"""``llmtrace models``: what reads beside the rules, and what it is worth."""

import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
from rich.progress import track

from llmtrace.analyzers.base import Context, StreamAnalyzer
from llmtrace.analyzers.combined import inspection
from llmtrace.analyzers.ensemble import ATTACKS
from llmtrace.analyzers.evaluation import FALSE_POSITIVES, Share, auc, flagged, recall_at
from llmtrace.analyzers.model import SHIPPED, BadModel, Manifest, ModelAnalyzer, read_manifest
from llmtrace.app.detection import BadDetection, build_analyzer, with_model
from llmtrace.cli.common import (
    BAD_CONFIG,
    config_option,
    json_option,
    print_json,
    print_table,
    read_config,
)
from llmtrace.config import Config
from llmtrace.domain.parts import Role

MAX_ROWS: Final = 1_000_000
READERS: Final = ("patterns", "together")


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


@dataclass(frozen=True, slots=True)
class Known:
    """A text whose truth is known."""

    text: str
    attack: bool
    kind: str


def _rows(path: Path) -> Iterator[Known]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if number > MAX_ROWS:
                raise click.ClickException(f"{path}: over {MAX_ROWS:,} rows; split the file")
            try:
                row = json.loads(line)
                yield Known(str(row["text"]), bool(int(row["label"])), str(row.get("kind", "")))
            except (ValueError, KeyError, TypeError) as error:
                raise click.ClickException(
                    f'{path}, line {number}: expected {{"text": …, "label": 0 or 1}}'
                ) from error


@models.command("eval")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option(
    "--role",
    type=click.Choice(["user", "tool_result"]),
    default="user",
    help="Whose words the texts are.  [default: user]",
)
@config_option
@json_option
def evaluate(files: Sequence[Path], role: str, config: Path | None, *, as_json: bool) -> None:
    """Measure rules and model on FILES of {"text", "label"}; label 1 is an attack."""
    settings = read_config(config)
    try:
        patterns = build_analyzer(settings, cached=False)
        readers = {"patterns": patterns, "together": with_model(patterns, settings)}
    except BadDetection as error:
        click.echo(str(error), err=True)
        sys.exit(BAD_CONFIG)
    said = {str(path): _measured(readers, list(_rows(path)), Role(role)) for path in files}
    if as_json:
        print_json(said)
        return
    for name, made in said.items():
        click.echo(f"\n{name}: {made['harmless']} harmless, {made['attacks']} attacks")
        print_table(("", *READERS), list(_lines(made)))


def _measured(
    readers: Mapping[str, StreamAnalyzer], rows: Sequence[Known], role: Role
) -> dict[str, Any]:
    said: dict[str, Any] = {
        "harmless": sum(not row.attack for row in rows),
        "attacks": sum(row.attack for row in rows),
    }
    context = Context(role)
    for name, reader in readers.items():
        shown = track(rows, description=name, transient=True, disable=not sys.stderr.isatty())
        scores = [_score(reader, row.text, context) for row in shown]
        said[name] = _worth(rows, scores)
    return said


def _score(reader: StreamAnalyzer, text: str, context: Context) -> float:
    made = inspection(reader, text, context)
    sure = (hit.confidence for hit in made.hits if hit.kind in ATTACKS)
    return max((made.attack, *sure))


def _worth(rows: Sequence[Known], scores: Sequence[float]) -> dict[str, Any]:
    harmless = [score for row, score in zip(rows, scores, strict=True) if not row.attack]
    attacks = [score for row, score in zip(rows, scores, strict=True) if row.attack]
    by_kind: dict[str, list[float]] = defaultdict(list)
    for row, score in zip(rows, scores, strict=True):
        by_kind[f"{row.kind.partition(':')[0]}:{int(row.attack)}"].append(score)
    said: dict[str, Any] = {}
    if harmless and attacks:
        said["auc"] = round(auc(harmless, attacks), 4)
        said["recall"] = {
            f"{rate:.1%}": _told(recall_at(harmless, attacks, rate)) for rate in FALSE_POSITIVES
        }
    said["flagged_harmless"] = _told(flagged(harmless, 0.7))
    said["flagged_attacks"] = _told(flagged(attacks, 0.7))
    said["flagged_by_kind"] = {
        kind: _told(flagged(found, 0.7)) for kind, found in sorted(by_kind.items())
    }
    return said


def _told(share: Share) -> list[float]:
    """Return a share and its interval."""
    return [round(value, 4) for value in (share.value, *share.interval)]


def _lines(made: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    def cells(*path: str) -> list[str]:
        found = []
        for name in READERS:
            value: Any = made[name]
            for step in path:
                value = value.get(step) if isinstance(value, Mapping) else None
            if isinstance(value, list):
                value = f"{value[0]:.1%} ({value[1]:.1%} to {value[2]:.1%})"
            found.append("" if value is None else str(value))
        return found

    yield ["AUC", *cells("auc")]
    for rate in FALSE_POSITIVES:
        yield [f"recall at {rate:.1%} FPR", *cells("recall", f"{rate:.1%}")]
    yield ["harmless at 0.7 or more", *cells("flagged_harmless")]
    yield ["attacks at 0.7 or more", *cells("flagged_attacks")]
    for kind in made[READERS[0]]["flagged_by_kind"]:
        name, _, attack = kind.rpartition(":")
        what = "attack" if attack == "1" else "harmless"
        yield [f"{name or 'any'}, {what}", *cells("flagged_by_kind", kind)]
