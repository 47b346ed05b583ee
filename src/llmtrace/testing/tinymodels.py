"""Tiny models in the layout of a hub's repository: a few words, and what each of them says."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from llmtrace.analyzers.model import Fetched, HubCache
from llmtrace.testing.onnxfile import INPUTS, Over, classifier

SPECIALS: Final = ("[UNK]", "[CLS]", "[SEP]")
SURE: Final = 4.0
"""The logit of what a word says; the others have 0."""
BROKEN: Final = "broken"
"""In place of a label: what such a word says is no number that can be used."""
ATTACKS: Final = {"ignore": "INJECTION", "disregard": "INJECTION"}
NAMES: Final = {"Maria": "B-PER", "Gonzalez": "I-PER", "Acme": "B-ORG"}

COMMIT: Final = "c" * 40
"""The commit of what is kept without a hub."""

type Files = dict[str, bytes]
"""The files of a repository, by name."""


def text_classifier(
    words: Mapping[str, str] = ATTACKS,
    *,
    labels: Sequence[str] = ("SAFE", "INJECTION"),
    network: str = "onnx/model.onnx",
    **config: Any,
) -> Files:
    """Return a repository whose model tells texts by single words; any other word is the first
    label. ``config`` stands in ``config.json``."""
    return _files("texts", words, labels, network, config)


def token_classifier(
    words: Mapping[str, str] = NAMES,
    *,
    labels: Sequence[str] = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG"),
    network: str = "model.onnx",
    **config: Any,
) -> Files:
    """Return a repository whose model tags single words; any other word has the first label."""
    return _files("tokens", words, labels, network, config)


def write(files: Mapping[str, bytes], folder: Path) -> Path:
    """Write a repository's files into a folder, and return it."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def keep(files: Mapping[str, bytes], root: Path, name: str) -> HubCache:
    """Put a repository into a cache as if it had been fetched, and return the cache."""
    cache = HubCache(root)
    folder = write(files, cache.home(name) / COMMIT)
    seals = {file: hashlib.sha256(content).hexdigest() for file, content in files.items()}
    made = Fetched(id=name, commit=COMMIT, folder=folder, files=seals)
    cache.keep(made, "main", endpoint="", at="")
    return cache


def logits(over: Over, words: Mapping[str, str], labels: Sequence[str]) -> list[list[float]]:
    """Return what each token of the vocabulary says of each label, special tokens first."""
    plain = [SURE / 2 if over == "texts" else SURE, *[0.0] * (len(labels) - 1)]
    rows = [plain] * len(SPECIALS)
    for label in words.values():
        if label == BROKEN:
            rows.append([math.inf] * len(labels))
            continue
        row = [0.0] * len(labels)
        row[labels.index(label)] = SURE
        rows.append(row)
    return rows


def _files(
    over: Over,
    words: Mapping[str, str],
    labels: Sequence[str],
    network: str,
    config: Mapping[str, Any],
) -> Files:
    kind = "Sequence" if over == "texts" else "Token"
    said = {
        "architectures": [f"TinyFor{kind}Classification"],
        "model_type": "tiny",
        "id2label": {str(place): label for place, label in enumerate(labels)},
        "max_position_embeddings": 32,
        "vocab_size": len(SPECIALS) + len(words),
        **config,
    }
    return {
        "config.json": json.dumps(said).encode(),
        "tokenizer.json": tokenizer(words),
        network: classifier(logits(over, words, labels), over=over, inputs=INPUTS),
    }


def tokenizer(words: Mapping[str, str]) -> bytes:
    """Return a tokenizer that knows these words, with a token before and behind a text."""
    known = {word: place for place, word in enumerate((*SPECIALS, *words))}
    made = Tokenizer(WordLevel(known, unk_token=SPECIALS[0]))
    made.pre_tokenizer = Whitespace()
    made.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return str(made.to_str()).encode()
