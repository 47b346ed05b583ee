"""Renders docs/models/evaluation.md from what ``llmtrace models eval`` measured."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from documents.measured import COMMAND, measured
from documents.models import NAME_MODES, percent, table

HEAD = """\
# What rules and model find

<!-- Rendered from docs/models/evaluation.json by scripts/docs; do not edit. -->

Measured by the gateway's own detectors, as they read a tool's result: the rules alone (*patterns*),
the shipped model alone, and both together, which is what the gateway uses. `dev_ood` holds sources
and templates that the model was not trained on; `dev_indomain` shares them with its training and
says little. The model's thresholds were chosen on both, so that neither is a test set, and the
rules were written without them. Shares have their Wilson interval of 95 %. A text counts as told
from a confidence of 0.7, the operating point `balanced`.

Made by

{command}
where DATA has the folders `injection` and `ner`. `prepare.py` writes `ner_dev_ewt`, and the tenth
of the presidio sentences that is held back, without training anything.

## What was measured

"""
NAMES = """\
Whole names with strict boundaries: {rows:,} sentences, {names} names. *As redacted* are names from
the confidence on that the gateway asks for ({least}); *all* is with every name told that the model
reads, however unsure. Texts of under 8 characters are not read, and their names count as missed.
Kinds that a set does not know are wrong wherever they are told: `ner_dev_ewt` has no addresses.

"""
NAMES_BY_KIND = """
### By kind

By rules and model together; the rules read addresses alone.

"""
WHAT = ("precision", "recall", "F1")
LEAST_OF_KIND = 10
"""Kinds with fewer texts are left out of the tables: their share says nothing."""
HIDDEN = """\
A hundred attacks and a hundred harmless texts of the set, each written whole in that way and read
by both detectors. Where no harmless text is let through, the writing itself is what is told: what
is invisible, or runs backwards by control characters, was meant not to be seen.
"""


def share(told: Sequence[float]) -> str:
    """Write a share and its interval."""
    value, low, high = told
    return f"{value:.1%} ({low:.1%} to {high:.1%})"


def readers(made: Mapping[str, Any]) -> list[str]:
    """Return the names of the detectors, in their order."""
    return [name for name, told in made.items() if isinstance(told, Mapping) and "auc" in told]


def overall(made: Mapping[str, Any]) -> str:
    """Return the table of the detectors over one set."""
    rates = list(made["patterns"]["recall"])
    head = [
        "",
        "AUC",
        *(f"recall at {rate} FPR" for rate in rates),
        "attacks told",
        "harmless told",
    ]
    rows = [
        [
            name,
            f"{made[name]['auc']:.3f}",
            *(share(made[name]["recall"][rate]) for rate in rates),
            share(made[name]["flagged_attacks"]),
            share(made[name]["flagged_harmless"]),
        ]
        for name in readers(made)
    ]
    return table(head, rows)


def kinds(made: Mapping[str, Any]) -> str:
    """Return the table of kinds of texts, most of them first."""
    counts: Mapping[str, int] = made["together"]["of_kind"]
    rows = []
    for kind, count in sorted(
        counts.items(), key=lambda item: (item[0][-1], -item[1]), reverse=True
    ):
        if count >= LEAST_OF_KIND:
            name, _, attack = kind.rpartition(":")
            cells = [share(made[reader]["flagged_by_kind"][kind]) for reader in readers(made)]
            rows.append([name, "attack" if attack == "1" else "harmless", str(count), *cells])
    rows.sort(key=lambda row: (row[1], -int(row[2])))
    return table(["kind", "truth", "texts", *readers(made)], rows)


def evasions(made: Mapping[str, Any]) -> str:
    """Return the table of the ways to hide a text."""
    found = {way: told for way, told in made["evasions"].items() if isinstance(told, Mapping)}
    plain = found["plain"]["attacks"][0]
    rows = [
        [
            way,
            percent(told["attacks"][0]),
            f"{(told['attacks'][0] - plain) * 100:+.0f}",
            percent(told["harmless"][0]),
        ]
        for way, told in found.items()
    ]
    return table(["written", "attacks told", "points against plain", "harmless told"], rows)


def name_cells(made: Mapping[str, Any]) -> list[str]:
    """Return precision, recall and F1."""
    return [share(made["precision"]), share(made["recall"]), percent(made["f1"])]


def names(made: Mapping[str, Any], least: float) -> Iterator[str]:
    """Yield the part about a set of sentences with names."""
    yield NAMES.format(rows=made["rows"], names=made["names"], least=least)
    found: Mapping[str, Any] = made["found"]
    rows = [
        [reader, title, *name_cells(one[mode])]
        for reader, one in found.items()
        if reader != "patterns"
        for mode, title in NAME_MODES.items()
    ]
    yield table(["", "names", "precision", "recall", "F1"], rows)
    yield NAMES_BY_KIND
    of_kind = {mode: found["together"][mode]["by_kind"] for mode in NAME_MODES}
    head = ["kind", "names"]
    head += [f"{title}: {what}" for title in NAME_MODES.values() for what in WHAT]
    yield table(
        head,
        [
            [kind, str(one["there"]), *(c for m in of_kind.values() for c in name_cells(m[kind]))]
            for kind, one in of_kind["all"].items()
            if one["there"]
        ],
    )


def provenance(said: Mapping[str, Any]) -> Iterator[str]:
    """Yield what read, and what was read."""
    model = said["models"]["model"]
    yield (
        f"- model: `{model['name']} {model['version']}`, seal `{model['seal']}`\n"
        f"- rules: seal `{said['rules']}`\n\n"
    )
    yield table(
        ["file", "rows", "SHA-256"],
        [
            [Path(path).name, f"{made['rows']:,}", f"`{made['sha256'][:16]}…`"]
            for path, made in said["sets"].items()
        ],
    )


def one_set(made: Mapping[str, Any]) -> Iterator[str]:
    """Yield the part about one set of attacks and harmless texts."""
    yield f"{made['harmless']:,} harmless texts, {made['attacks']:,} attacks.\n\n"
    yield overall(made)
    yield "\n### By kind\n\n"
    yield f"Kinds of at least {LEAST_OF_KIND} texts, by the share that is told.\n\n"
    yield kinds(made)
    if "evasions" in made:
        yield f"\n### Written so as to be overlooked\n\n{HIDDEN}\n"
        yield evasions(made)


def render() -> str:
    """Return the page. Raises: Stale."""
    said = measured()
    least = said["models"]["model"]["names_from"]
    parts = [HEAD.format(command=COMMAND), *provenance(said)]
    for path, made in said["sets"].items():
        parts.append(f"\n## {Path(path).stem}\n\n")
        parts += names(made, least) if "found" in made else one_set(made)
    return "".join(parts)
