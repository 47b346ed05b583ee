"""Texts to windows of token ids, and the order in which they are shown."""

import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from encoder import TAGS, WINDOW
from tokenizers import Tokenizer
from torch import Tensor

OVERLAP: Final = 32
MOST_WINDOWS: Final = 6
UNREADABLE: Final = frozenset({"base64", "hex", "rot13", "reverse", "bidi"})
"""Evasions that nobody can read unless a view undoes them: what is left says nothing."""
CARRIERS: Final = (
    "tool_output", "doc_ml", "repo_docs", "code", "security_docs", "clean_note", "instruction_code",
)  # fmt: skip
PAYLOADS: Final = frozenset({"direct", "deepset", "jailbreak_pair", "mixed", "extraction"})
NOTES: Final = frozenset({"hard_negative", "short_query", "clean_note", "coding_prompt"})
COMPOSED: Final = 0.12
"""The share of texts that are put together anew: a carrier with an attack or a note in it."""
MASKED: Final = 0.06
CLS, SEP, UNK = 101, 102, 100


@dataclass(frozen=True, slots=True)
class Text:
    """A text as token ids, without marks; ``label`` 1 is an attack."""

    ids: tuple[int, ...]
    label: int
    kind: str
    source: str


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence as token ids with a tag number for each."""

    ids: tuple[int, ...]
    tags: tuple[int, ...]


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """Go through a JSONL file."""
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def texts(path: Path, tokenizer: Tokenizer, *, train: bool) -> list[list[Text]]:
    """Return, per row, the readings that count: all to measure, the telling ones to learn."""
    found = list(rows(path))
    flat = [text for row in found for text in row["texts"]]
    encoded = iter(tokenizer.encode_batch(flat, add_special_tokens=False))
    made = []
    for row in found:
        kind, _, evasion = row["kind"].partition(":")
        readings = [
            Text(tuple(next(encoded).ids), row["label"], kind, row["source"]) for _ in row["texts"]
        ]
        if train and row["label"]:
            if evasion in UNREADABLE:
                readings = readings[1:]
            elif len(readings) > 1:
                readings = readings[-1:] if evasion else readings[:1]
        made.append([one for one in readings if one.ids])
    return [one for one in made if one]


def sentences(path: Path, tokenizer: Tokenizer) -> list[Sentence]:
    """Return tagged sentences."""
    made = []
    for row in rows(path):
        encoding = tokenizer.encode(row["text"], add_special_tokens=False)
        tags = [0] * len(encoding.ids)
        for start, end, label in row["spans"]:
            inside = [i for i, (a, b) in enumerate(encoding.offsets) if a < end and b > start]
            for place, index in enumerate(inside):
                tags[index] = TAGS.index(f"{'B' if place == 0 else 'I'}-{label}")
        made.append(Sentence(tuple(encoding.ids[: WINDOW - 2]), tuple(tags[: WINDOW - 2])))
    return [one for one in made if one.ids]


def windows(ids: Sequence[int]) -> list[Sequence[int]]:
    """Cut ids into windows that overlap, so that what is short stands whole in one of them."""
    room = WINDOW - 2
    if len(ids) <= room:
        return [ids]
    starts = range(0, len(ids) - OVERLAP, room - OVERLAP)
    return [ids[start : start + room] for start in starts]


def padded(cut: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Return ids and mask of windows, with their marks."""
    width = max(map(len, cut)) + 2
    ids = torch.zeros(len(cut), width, dtype=torch.long)
    mask = torch.zeros(len(cut), width, dtype=torch.long)
    for row, window in enumerate(cut):
        ids[row, : len(window) + 2] = torch.tensor([CLS, *window, SEP])
        mask[row, : len(window) + 2] = 1
    return ids, mask


class Sampler:
    """Shows texts in batches of about as many tokens, sources weighted against each other."""

    def __init__(self, found: list[list[Text]], seed: int) -> None:
        self.random = random.Random(seed)
        self.flat = [one for readings in found for one in readings]
        count = Counter((one.source, one.label) for one in self.flat)
        self.weights = [count[one.source, one.label] ** -0.35 for one in self.flat]
        self.carriers = [t for t in self.flat if not t.label and t.kind.startswith(CARRIERS)]
        self.payloads = [t for t in self.flat if t.label and t.kind in PAYLOADS and len(t.ids) < 80]
        self.notes = [t for t in self.flat if not t.label and t.kind in NOTES and len(t.ids) < 80]

    def composed(self) -> Text:
        """Put an attack, or a harmless note, somewhere into a carrier."""
        carrier = self.random.choice(self.carriers)
        bad = self.random.random() < 0.5
        what = self.random.choice(self.payloads if bad else self.notes)
        start = self.random.randrange(max(1, len(carrier.ids) - 400))
        ids = carrier.ids[start : start + 400]
        at = self.random.choice((0, self.random.randint(0, len(ids)), len(ids)))
        return Text((*ids[:at], *what.ids, *ids[at:]), int(bad), "composed", "composed")

    def shown(self, text: Text) -> Text:
        """Hide a few words, so that no single one is what gives an attack away."""
        if self.random.random() < 0.5:
            return text
        ids = tuple(UNK if self.random.random() < MASKED else i for i in text.ids)
        return Text(ids, text.label, text.kind, text.source)

    def batches(self, count: int, tokens: int) -> Iterator[list[tuple[list[Sequence[int]], int]]]:
        """Draw ``count`` texts; yield batches of (windows, label), like lengths together."""
        drawn = self.random.choices(self.flat, self.weights, k=count)
        drawn = [self.composed() if self.random.random() < COMPOSED else one for one in drawn]
        for at in range(0, len(drawn), 4096):
            pool = sorted(map(self.shown, drawn[at : at + 4096]), key=lambda one: len(one.ids))
            made: list[list[tuple[list[Sequence[int]], int]]] = [[]]
            size = width = 0
            for one in pool:
                cut = self._some(windows(one.ids))
                width = max(width, *map(len, cut))
                if size and (size + len(cut)) * width > tokens:
                    made.append([])
                    size, width = 0, max(map(len, cut))
                made[-1].append((cut, one.label))
                size += len(cut)
            self.random.shuffle(made)
            yield from made

    def _some(self, cut: list[Sequence[int]]) -> list[Sequence[int]]:
        if len(cut) <= MOST_WINDOWS:
            return cut
        first = self.random.randrange(len(cut) - MOST_WINDOWS + 1)
        return cut[first : first + MOST_WINDOWS]
