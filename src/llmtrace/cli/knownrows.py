"""Files of texts whose truth is known: which is an attack, or what is named in it."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from llmtrace.analyzers.evaluation import Name
from llmtrace.analyzers.model import kind_of

MAX_ROWS: Final = 1_000_000
NO_NAME: Final = "none"
JUDGED: Final = '{"text": …, "label": 0 or 1}'
NAMED: Final = '{"text": …, "spans": [[start, end, label], …]}'


@dataclass(frozen=True, slots=True)
class Known:
    """A text of which is known whether it is an attack."""

    text: str
    attack: bool
    kind: str


@dataclass(frozen=True, slots=True)
class Sentence:
    """A text whose names are known; their kinds are those of findings."""

    text: str
    names: frozenset[Name]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFile:
    """The rows of a file, which are of one form, and the file's SHA-256."""

    texts: Sequence[Known] = ()
    sentences: Sequence[Sentence] = ()
    sha256: str

    @property
    def about(self) -> Mapping[str, Any]:
        """What tells this file from another."""
        return {"rows": len(self.texts) + len(self.sentences), "sha256": self.sha256}


def read_known(path: Path) -> KnownFile:
    """Read a file of JSON lines; its first row says what the others are.

    Raises:
        click.ClickException: A row is none, or there are too many.
    """
    seal = hashlib.sha256()
    texts: list[Known] = []
    sentences: list[Sentence] = []
    for number, row in enumerate(_rows(path, seal.update), 1):
        spans = bool(sentences) or (not texts and isinstance(row, dict) and "spans" in row)
        try:
            if spans:
                sentences.append(_sentence(row))
            else:
                texts.append(_known(row))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            why = f"; {error}" if isinstance(error, _UnknownLabel) else ""
            raise _bad(path, number, (NAMED if spans else JUDGED) + why) from error
    return KnownFile(texts=texts, sentences=sentences, sha256=seal.hexdigest())


def _rows(path: Path, seen: Callable[[bytes], None]) -> Iterator[Any]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            seen(line)
            if number > MAX_ROWS:
                raise click.ClickException(f"{path}: over {MAX_ROWS:,} rows; split the file")
            try:
                yield json.loads(line)
            except ValueError as error:
                raise _bad(path, number, f"{JUDGED} or {NAMED}") from error


def _bad(path: Path, number: int, expected: str) -> click.ClickException:
    return click.ClickException(f"{path}, line {number}: expected {expected}")


class _UnknownLabel(ValueError):
    """A label stands for no kind of name."""


def _known(row: Any) -> Known:
    return Known(str(row["text"]), bool(int(row["label"])), str(row.get("kind", "")))


def _sentence(row: Any) -> Sentence:
    text = str(row["text"])
    return Sentence(text, frozenset(_names(row["spans"], len(text))))


def _names(spans: Any, length: int) -> Iterator[Name]:
    for start, end, label in spans:
        kind = kind_of(str(label))
        if kind is None:
            raise _UnknownLabel("a label such as PERSON, or a kind of docs/detection.md")
        if not 0 <= int(start) < int(end) <= length:
            raise ValueError("a span is not in its text")
        if kind != NO_NAME:
            yield int(start), int(end), kind
