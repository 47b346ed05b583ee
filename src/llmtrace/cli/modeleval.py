"""``llmtrace models eval``: what rules and model are worth on texts whose truth is known."""

import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import click
from rich.progress import track

from llmtrace.analyzers.base import Analyzer, Context
from llmtrace.analyzers.combined import inspection
from llmtrace.analyzers.ensemble import ATTACKS, Ensemble
from llmtrace.analyzers.evaluation import FALSE_POSITIVES, Share, auc, flagged, recall_at
from llmtrace.analyzers.evasions import EVASIONS
from llmtrace.app.detection import BadDetection, build_analyzer
from llmtrace.app.models import load_models
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
LEAST: Final = 0.7
"""From which confidence on a text counts as told: that of the operating point ``balanced``."""


@dataclass(frozen=True, slots=True)
class Known:
    """A text whose truth is known."""

    text: str
    attack: bool
    kind: str


@click.command("eval")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option(
    "--role",
    type=click.Choice(["user", "tool_result"]),
    default="user",
    help="Whose words the texts are.  [default: user]",
)
@click.option(
    "--evasions",
    type=click.IntRange(min=1),
    metavar="N",
    help="Also write N attacks and N harmless texts of each file in all ways to hide them.",
)
@config_option
@json_option
def evaluate(
    files: Sequence[Path],
    role: str,
    evasions: int | None,
    config: Path | None,
    *,
    as_json: bool,
) -> None:
    """Measure rules and model on FILES of {"text", "label"}; label 1 is an attack."""
    readers = _readers(read_config(config))
    said = {}
    for path in files:
        rows = list(_rows(path))
        made = {
            "harmless": sum(not row.attack for row in rows),
            "attacks": sum(row.attack for row in rows),
        }
        said[str(path)] = made | _measured(readers, rows, Role(role))
        if evasions:
            said[str(path)]["evasions"] = _evaded(readers, rows, Role(role), evasions)
    if as_json:
        print_json(said)
        return
    for name, told in said.items():
        click.echo(f"\n{name}: {told['harmless']} harmless, {told['attacks']} attacks")
        print_table(("", *readers), list(_lines(told, list(readers))))


def _readers(settings: Config) -> Mapping[str, Analyzer]:
    """Return the rules, each model, and all of them, as far as they are configured."""
    try:
        patterns = build_analyzer(settings, cached=False)
        models = load_models(settings).loaded
        alone: dict[str, Analyzer] = {"patterns": patterns, **{one.name: one for one in models}}
        return alone | {"together": Ensemble(patterns, *models)} if models else alone
    except BadDetection as error:
        click.echo(str(error), err=True)
        sys.exit(BAD_CONFIG)


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


def _measured(readers: Mapping[str, Analyzer], rows: Sequence[Known], role: Role) -> dict[str, Any]:
    context = Context(role)
    said: dict[str, Any] = {}
    for name, reader in readers.items():
        shown = track(rows, description=name, transient=True, disable=not sys.stderr.isatty())
        said[name] = _worth(rows, [_score(reader, row.text, context) for row in shown])
    return said


def _score(reader: Analyzer, text: str, context: Context) -> float:
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
    said["flagged_harmless"] = _told(flagged(harmless, LEAST))
    said["flagged_attacks"] = _told(flagged(attacks, LEAST))
    said["flagged_by_kind"] = {
        kind: _told(flagged(found, LEAST)) for kind, found in sorted(by_kind.items())
    }
    said["of_kind"] = {kind: len(found) for kind, found in sorted(by_kind.items())}
    return said


def _evaded(
    readers: Mapping[str, Analyzer], rows: Sequence[Known], role: Role, count: int
) -> dict[str, Any]:
    """Return, per way to hide a text, the shares that are told by all together."""
    name, reader = list(readers.items())[-1]
    some = [*_spread(rows, count, attack=True), *_spread(rows, count, attack=False)]
    said: dict[str, Any] = {"texts": len(some), "reader": name}
    ways: dict[str, Callable[[str], str]] = {"plain": str, **EVASIONS}
    for way, written in ways.items():
        hidden = [replace(row, text=written(row.text)) for row in some]
        worth = _measured({way: reader}, hidden, role)[way]
        said[way] = {
            "attacks": worth["flagged_attacks"],
            "harmless": worth["flagged_harmless"],
        }
    return said


def _spread(rows: Sequence[Known], count: int, *, attack: bool) -> Sequence[Known]:
    """Return ``count`` rows from all over the file: neighbours are often of one source."""
    found = [row for row in rows if row.attack is attack]
    return found[:: max(1, len(found) // count)][:count]


def _told(share: Share) -> list[float]:
    """Return a share and its interval."""
    return [round(value, 4) for value in (share.value, *share.interval)]


def _lines(made: Mapping[str, Any], readers: Sequence[str]) -> Iterator[Sequence[str]]:
    def cells(*path: str) -> list[str]:
        found = []
        for name in readers:
            value: Any = made[name]
            for step in path:
                value = value.get(step) if isinstance(value, Mapping) else None
            found.append("" if value is None else _written(value))
        return found

    yield ["AUC", *cells("auc")]
    for rate in FALSE_POSITIVES:
        yield [f"recall at {rate:.1%} FPR", *cells("recall", f"{rate:.1%}")]
    yield [f"harmless at {LEAST} or more", *cells("flagged_harmless")]
    yield [f"attacks at {LEAST} or more", *cells("flagged_attacks")]
    for kind in made[readers[0]]["flagged_by_kind"]:
        name, _, attack = kind.rpartition(":")
        what = "attack" if attack == "1" else "harmless"
        yield [f"{name or 'any'}, {what}", *cells("flagged_by_kind", kind)]
    for way, told in made.get("evasions", {}).items():
        if isinstance(told, Mapping):
            for what, share in told.items():
                empty = [""] * (len(readers) - 1)
                yield [f"{way}, {what}", *empty, _written(share)]


def _written(value: object) -> str:
    if isinstance(value, list):
        return f"{value[0]:.1%} ({value[1]:.1%} to {value[2]:.1%})"
    return str(value)
