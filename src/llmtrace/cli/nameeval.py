"""What detectors are worth on names: whole ones, with strict boundaries."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from llmtrace.analyzers.base import Analyzer, Context
from llmtrace.analyzers.evaluation import Name, Named, named
from llmtrace.cli.knownrows import Sentence
from llmtrace.cli.shares import numbers_of, written

REDACTED: Final = "redacted"
"""The names that a policy can redact: those of which a detector is sure enough."""
ALL: Final = "all"
"""All names that it reads, however unsure."""
NAMES: Final = frozenset({"pii.person", "pii.organization", "pii.location", "pii.street_address"})
"""The kinds that count as told wrong where a file knows none of them."""
COLUMNS: Final = ("", "names", "precision", "recall", ">F1", ">told", ">right", ">there")

type Readers = Mapping[str, Analyzer]


def names_worth(
    readers: Readers, telling_all: Readers, rows: Sequence[Sentence], context: Context
) -> dict[str, Any]:
    """Return, per detector, what it is worth as it redacts and with all that it reads told.

    Args:
        readers: The detectors as they are configured.
        telling_all: The same, telling each name from a confidence of 0 on.
        rows: The sentences.
        context: Where they stand.
    """
    kinds = sorted({kind for row in rows for *_, kind in row.names} | NAMES)
    return {
        name: {
            REDACTED: _worth(reader, rows, context, kinds),
            ALL: _worth(telling_all[name], rows, context, kinds),
        }
        for name, reader in readers.items()
    }


def _worth(
    reader: Analyzer, rows: Sequence[Sentence], context: Context, kinds: Collection[str]
) -> dict[str, Any]:
    pairs = [(row.names, _told(reader, row.text, context, kinds)) for row in rows]
    by_kind = {kind: _numbers(named(pairs, kind)) for kind in kinds}
    return {**_numbers(named(pairs)), "by_kind": by_kind}


def _told(reader: Analyzer, text: str, context: Context, kinds: Collection[str]) -> set[Name]:
    hits = reader.analyze(text, context)
    return {(hit.start, hit.end, hit.kind) for hit in hits if hit.kind in kinds}


def _numbers(made: Named) -> dict[str, Any]:
    return {
        "precision": numbers_of(made.precision),
        "recall": numbers_of(made.recall),
        "f1": round(made.f1, 4),
        "told": made.told,
        "right": made.right,
        "there": made.there,
    }


def name_lines(worth: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    """Yield the rows of a table under ``COLUMNS``; kinds of which there is nothing are left out."""
    for reader, modes in worth.items():
        for mode, made in modes.items():
            yield [f"{reader}, {mode}", "all kinds", *_cells(made)]
            for kind, numbers in made["by_kind"].items():
                if numbers["told"] or numbers["there"]:
                    yield ["", kind, *_cells(numbers)]


def _cells(made: Mapping[str, Any]) -> Iterator[str]:
    for what in ("precision", "recall"):
        yield written(made[what])
    yield f"{made['f1']:.1%}"
    for what in ("told", "right", "there"):
        yield str(made[what])
