"""A classifier as hubs publish it: a folder with ``config.json``, ``tokenizer.json``, an ONNX file.

Nothing in it says how it is to be used here: lengths, labels and special tokens are read out of
these files, as ``transformers`` reads them.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from llmtrace.analyzers.model.hublabels import UnknownLabels, text_labels, token_labels
from llmtrace.analyzers.model.manifest import (
    LONGEST,
    MAX_CONFIG_BYTES,
    TOKENIZER,
    BadModel,
    Manifest,
)

CONFIG: Final = "config.json"
TOKENIZER_CONFIG: Final = "tokenizer_config.json"
NETWORKS: Final = ("model.onnx", "onnx/model.onnx", "onnx/model_quantized.onnx")
"""Where the network is looked for, in this order."""
SHARED: Final = 8
"""Windows share an eighth of their tokens."""
MAX_LABELS: Final = 1024
POINTS: Final = {"high_recall": 0.5, "balanced": 0.7, "high_precision": 0.9}
NAME_CONFIDENCE: Final = 0.5
_PADDED: Final = frozenset({"roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "mpnet"})
"""Kinds of models whose positions begin behind that of the padding token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSpec:
    """Which model of a hub, and how it is to be read. As ``ml.models`` has it."""

    id: str
    revision: str = "main"
    file: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    threshold: float | None = None
    window: int | None = None


@dataclass(frozen=True, slots=True)
class Logistic:
    """The confidence of a classifier that gives its own probability: the logit's."""

    tokens: int = 1 << 62

    def confidence(self, logit: float) -> float:
        """Return the probability whose log-odds ``logit`` is."""
        return 1.0 / (1.0 + math.exp(-logit)) if logit > -700 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """What the files of a classifier say of it.

    ``labels`` are those of the network's outputs in order, ``attacks`` the places of those that
    are attacks, for a model that judges whole texts; ``each`` says that its labels do not exclude
    each other. ``vocabulary`` counts the tokens that the network knows.
    """

    manifest: Manifest
    network: Path
    labels: tuple[str, ...]
    attacks: tuple[int, ...]
    each: bool
    vocabulary: int


def read_repository(
    folder: Path, spec: HubSpec, *, seals: Mapping[str, str] | None = None
) -> Repository:
    """Read a folder as hubs have it.

    Args:
        folder: Holds ``config.json``, ``tokenizer.json`` and the network.
        spec: Says what the files leave open.
        seals: SHA-256 of the files by their names in the folder, where they are known already.

    Raises:
        BadModel: A file is missing or says something that cannot be used.
    """
    config = _read(folder / CONFIG)
    network = network_of(folder, spec)
    labels = _labels(folder / CONFIG, config)
    tokens = _judges_tokens(folder / CONFIG, config)
    named, judged = None, None
    try:
        if tokens:
            named = token_labels(labels, spec.labels)
        else:
            judged = text_labels(labels, spec.labels)
    except UnknownLabels as error:
        raise BadModel(f"{folder / CONFIG}: {error} (ml.models, id: {spec.id})") from error
    window = _window(folder, config, spec)
    points = dict.fromkeys(POINTS, spec.threshold) if spec.threshold else POINTS
    manifest = Manifest(
        folder=folder,
        name=spec.id,
        version=spec.revision,
        window=window,
        overlap=window // SHARED,
        begin=0,
        end=0,
        tags=named.tags if named else (),
        entities=named.entities if named else {},
        entity_confidence=spec.threshold or NAME_CONFIDENCE,
        points={name: value for name, value in points.items() if value is not None},
        scales=() if tokens else (Logistic(),),
        seal=_seal(folder, network, spec, seals),
        attack=judged.kind if judged else "prompt_injection",
        by_word=tokens,
    )
    return Repository(
        manifest=manifest,
        network=network,
        labels=labels,
        attacks=judged.attacks if judged else (),
        each=config.get("problem_type") == "multi_label_classification",
        vocabulary=_number(config.get("vocab_size")),
    )


def network_of(folder: Path, spec: HubSpec) -> Path:
    """Return the network's file. Raises: BadModel."""
    for name in [spec.file] if spec.file else NETWORKS:
        if (folder / name).is_file():
            return folder / name
    wanted = spec.file or ", ".join(NETWORKS)
    raise BadModel(
        f"{folder / (spec.file or NETWORKS[0])}: is not there (looked for {wanted}); name the file "
        "as ml.models[].file, or choose a model that was exported to ONNX"
    )


def _read(path: Path) -> Mapping[str, Any]:
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise BadModel(f"{path}: over {MAX_CONFIG_BYTES} bytes; this is no model's {path.name}")
        said = json.loads(path.read_bytes())
    except OSError as error:
        raise BadModel(
            f"{path}: {error.strerror}; a model's folder has {CONFIG}, {TOKENIZER} and an ONNX file"
        ) from error
    except (ValueError, RecursionError) as error:
        raise BadModel(f"{path}: is no JSON; get the model's files again") from error
    if not isinstance(said, dict):
        raise BadModel(f"{path}: expected an object, found a {type(said).__name__}")
    return said


def _labels(path: Path, config: Mapping[str, Any]) -> tuple[str, ...]:
    said = config.get("id2label")
    if said is None:
        count = _number(config.get("num_labels")) or 2
        said = {str(place): f"LABEL_{place}" for place in range(min(count, MAX_LABELS))}
    places = [str(place) for place in range(len(said))] if isinstance(said, dict) else []
    if not places or len(places) > MAX_LABELS or set(said) != set(places):
        raise BadModel(
            f"{path}: id2label does not number labels from 0, of which there are at most "
            f"{MAX_LABELS}; use a model that is a classifier"
        )
    return tuple(str(said[place]) for place in places)


def _judges_tokens(path: Path, config: Mapping[str, Any]) -> bool:
    named = config.get("architectures")
    made = [str(one) for one in named] if isinstance(named, list) else []
    for suffix, tokens in (("ForTokenClassification", True), ("ForSequenceClassification", False)):
        if any(one.endswith(suffix) for one in made):
            return tokens
    raise BadModel(
        f"{path}: architectures is {', '.join(made)[:100] or 'not there'}, expected one that ends "
        "with ForSequenceClassification or ForTokenClassification; use a model that is a classifier"
    )


def _window(folder: Path, config: Mapping[str, Any], spec: HubSpec) -> int:
    """Return how many tokens a window has: what the model was made for, or what is asked for."""
    most = _number(config.get("max_position_embeddings"))
    if most and config.get("model_type") in _PADDED:
        most -= _number(config.get("pad_token_id"), 1) + 1
    path = folder / TOKENIZER_CONFIG
    told = _number(_read(path).get("model_max_length")) if path.is_file() else 0
    lengths = [one for one in (most, told) if 0 < one < 1 << 24]  # "no limit" is written as 1e30
    if not lengths and spec.window is None:
        raise BadModel(
            f"{folder / CONFIG}: has no max_position_embeddings; say how many tokens the model "
            f"takes: ml.models, id: {spec.id}, window"
        )
    own = min(lengths, default=spec.window or LONGEST)
    if spec.window is not None and spec.window > own:
        raise BadModel(
            f"{folder / CONFIG}: the model takes {own} tokens, and ml.models, id: {spec.id}, "
            f"window is {spec.window}; write {own} or less"
        )
    return max(min(spec.window or min(own, LONGEST), own), SHARED)


def _number(value: object, otherwise: int = 0) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return otherwise
    return int(value)


def _seal(folder: Path, network: Path, spec: HubSpec, seals: Mapping[str, str] | None) -> str:
    """Return a hash over the files and over how they are to be read."""
    names = (CONFIG, TOKENIZER, str(network.relative_to(folder)))
    found = [seals[name] if seals and name in seals else sha256(folder / name) for name in names]
    found.append(json.dumps([sorted(spec.labels.items()), spec.threshold, spec.window]))
    return hashlib.sha256("".join(found).encode()).hexdigest()[:16]


def sha256(path: Path) -> str:
    """Return a file's SHA-256. Raises: BadModel."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BadModel(f"{path}: {error.strerror}; get the model's files again") from error
