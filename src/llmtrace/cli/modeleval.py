"""``llmtrace models eval``: what rules and model are worth on texts whose truth is known."""

import hashlib
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import click
from rich.progress import track

from llmtrace.analyzers.base import Analyzer, Context, StreamAnalyzer
from llmtrace.analyzers.combined import inspection
from llmtrace.analyzers.ensemble import ATTACKS, Ensemble
from llmtrace.analyzers.evaluation import FALSE_POSITIVES, auc, flagged, recall_at
from llmtrace.analyzers.evasions import EVASIONS
from llmtrace.analyzers.model import Manifest, ModelAnalyzer
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
from llmtrace.cli.knownrows import Known, KnownFile, read_known
from llmtrace.cli.nameeval import COLUMNS, name_lines, names_worth
from llmtrace.cli.shares import numbers_of, written
from llmtrace.config import Config
from llmtrace.domain.parts import Role

LEAST: Final = 0.7
"""From which confidence on a text counts as told: that of the operating point ``balanced``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Readers:
    """The rules, each model, and all of them together, as far as they are configured.

    ``telling_all`` are the same, telling each name that they read, however unsure. ``rules`` is
    the seal of the packs, ``models`` says of each model which it is.
    """

    configured: Mapping[str, Analyzer]
    telling_all: Mapping[str, Analyzer]
    rules: str
    models: Mapping[str, Mapping[str, object]]


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
    """Measure rules and model on FILES of JSON lines whose truth is known.

    Of {"text", "label"}, where label 1 is an attack, it tells how well attacks are told; of
    {"text", "spans"}, where a span is [start, end, label], how well names are: whole ones, as they
    are redacted, and with all that a model reads told, however unsure.
    """
    readers = _readers(read_config(config))
    sets = {}
    for path in files:
        known = read_known(path)
        sets[str(path)] = {**known.about, **_of_file(readers, known, Role(role), evasions)}
    if as_json:
        print_json({"models": readers.models, "rules": readers.rules, "sets": sets})
        return
    for name, told in sets.items():
        _print_set(name, told, list(readers.configured))


def _readers(settings: Config) -> Readers:
    try:
        patterns = build_analyzer(settings, cached=False)
        models = load_models(settings).loaded
    except BadDetection as error:
        click.echo(str(error), err=True)
        sys.exit(BAD_CONFIG)
    unsure = [one.naming_from(0.0) for one in models]
    return Readers(
        configured=_beside(patterns, models),
        telling_all=_beside(patterns, unsure),
        rules=patterns.version,
        models={one.name: _identity(one.manifest) for one in models},
    )


def _identity(manifest: Manifest) -> Mapping[str, object]:
    """Return what tells a model, and how it is read, from another."""
    said = manifest.folder / "model.json"
    seal = hashlib.sha256(said.read_bytes()).hexdigest() if said.is_file() else None
    return {
        "name": manifest.name,
        "version": manifest.version,
        "seal": manifest.seal,
        "model_json": seal,
        "names_from": manifest.entity_confidence,
    }


def _beside(patterns: StreamAnalyzer, models: Sequence[ModelAnalyzer]) -> Mapping[str, Analyzer]:
    alone: dict[str, Analyzer] = {"patterns": patterns, **{one.name: one for one in models}}
    return alone | {"together": Ensemble(patterns, *models)} if models else alone


def _of_file(
    readers: Readers, known: KnownFile, role: Role, evasions: int | None
) -> dict[str, Any]:
    if known.sentences:
        rows = known.sentences
        worth = names_worth(readers.configured, readers.telling_all, rows, Context(role))
        return {"names": sum(len(row.names) for row in rows), "found": worth}
    texts = known.texts
    made: dict[str, Any] = {
        "harmless": sum(not row.attack for row in texts),
        "attacks": sum(row.attack for row in texts),
    }
    made |= _measured(readers.configured, texts, role)
    if evasions:
        made["evasions"] = _evaded(readers.configured, texts, role, evasions)
    return made


def _print_set(name: str, told: Mapping[str, Any], readers: Sequence[str]) -> None:
    if "found" in told:
        click.echo(f"\n{name}: {told['rows']} sentences, {told['names']} names")
        print_table(COLUMNS, list(name_lines(told["found"])))
    else:
        click.echo(f"\n{name}: {told['harmless']} harmless, {told['attacks']} attacks")
        print_table(("", *readers), list(_lines(told, readers)))


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
            f"{rate:.1%}": numbers_of(recall_at(harmless, attacks, rate))
            for rate in FALSE_POSITIVES
        }
    said["flagged_harmless"] = numbers_of(flagged(harmless, LEAST))
    said["flagged_attacks"] = numbers_of(flagged(attacks, LEAST))
    said["flagged_by_kind"] = {
        kind: numbers_of(flagged(found, LEAST)) for kind, found in sorted(by_kind.items())
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
    for way, hide in ways.items():
        hidden = [replace(row, text=hide(row.text)) for row in some]
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


def _lines(made: Mapping[str, Any], readers: Sequence[str]) -> Iterator[Sequence[str]]:
    def cells(*path: str) -> list[str]:
        found = []
        for name in readers:
            value: Any = made[name]
            for step in path:
                value = value.get(step) if isinstance(value, Mapping) else None
            found.append(_cell(value))
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
                yield [f"{way}, {what}", *empty, written(share)]


def _cell(value: object) -> str:
    if isinstance(value, list):
        return written(value)
    return "" if value is None else str(value)
