"""Texts to windows of token ids, and the order in which they are shown."""

import json
import random
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
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
PAYLOADS: Final = frozenset(
    {"direct", "deepset", "jailbreak_pair", "mixed", "extraction"}
    | {"payload", "override", "authority"}  # of the written ones
)
ONLY_COMPOSED: Final = "payload"
"""Attacks by where they stand: an order in a document, which a user may well give."""
NOTES: Final = frozenset(
    {"clean_note", "note_to_people", "log_output", "code", "web_page", "chat_record", "data"}
    | {"subtitle_book", "security_text", "agent_docs"}
)
"""Harmless texts that stand in documents by right. No requests: those are what is injected."""
CARRIED: Final = (30, 400)
"""Tokens of a carrier, at least and at most."""
LONGEST: Final = 80
"""Tokens of what is put into a carrier."""
COMPOSED: Final = 0.25
"""The share of texts that are put together anew: a carrier with an attack or a note in it."""
WRITTEN: Final = "written"
"""The source of the texts of this folder, of which no two are alike."""
MASKED: Final = 0.06
HARDER: Final = 4.0
"""How much more often a harmless text is shown that was taken for an attack."""
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


class Pool:
    """Texts to draw from, sources weighted against each other.

    A source of many texts has more of them shown, but each less often; ``written`` is the share
    of those that were written one by one. Those of ``hard`` are shown ``HARDER`` times as often.
    """

    def __init__(
        self, found: Sequence[Text], *, written: float, hard: Collection[Text] = ()
    ) -> None:
        self.found = found
        count = Counter((one.source, one.label) for one in found)
        weights = [count[one.source, one.label] ** -0.35 for one in found]
        weights = [w * HARDER if t in hard else w for t, w in zip(found, weights, strict=True)]
        ours = [one.source == WRITTEN for one in found]
        held = sum(w for w, own in zip(weights, ours, strict=True) if own)
        if held:
            factor = written / (1 - written) * (sum(weights) - held) / held
            weights = [w * factor if own else w for w, own in zip(weights, ours, strict=True)]
        self.weights = list(accumulate(weights))

    def draw(self, chance: random.Random, count: int) -> list[Text]:
        """Return ``count`` texts, some of them more than once."""
        return chance.choices(self.found, cum_weights=self.weights, k=count)


class Sampler:
    """Shows texts in batches of about as many tokens, sources weighted against each other."""

    def __init__(
        self, found: list[list[Text]], seed: int, hard: Collection[Text] = frozenset()
    ) -> None:
        self.random = random.Random(seed)
        flat = [one for readings in found for one in readings]
        drawn = [t for t in flat if t.kind != ONLY_COMPOSED]
        self.texts = Pool(drawn, written=0.2, hard=hard)
        self.carriers = [t for t in flat if not t.label and t.kind.startswith(CARRIERS)]
        short = [one for one in flat if len(one.ids) < LONGEST]
        self.payloads = Pool([t for t in short if t.label and t.kind in PAYLOADS], written=0.5)
        notes = [t for t in short if not t.label and t.kind in NOTES]
        self.notes = Pool(notes, written=0.8, hard=hard)

    def composed(self) -> Text:
        """Put an attack, or a harmless note, somewhere into a carrier."""
        carrier = self.random.choice(self.carriers)
        bad = self.random.random() < 0.5
        [what] = (self.payloads if bad else self.notes).draw(self.random, 1)
        length = self.random.randint(*CARRIED)
        start = self.random.randrange(max(1, len(carrier.ids) - length))
        ids = carrier.ids[start : start + length]
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
        drawn = self.texts.draw(self.random, count)
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
