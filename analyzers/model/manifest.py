"""The files of a model, and what its ``model.json`` says of them."""

import hashlib
import json
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

SHIPPED: Final = Path(__file__).parent / "shipped"
"""The folder of the model that comes with the gateway."""
FORMAT: Final = 1
NETWORK: Final = "model.onnx"
TOKENIZER: Final = "tokenizer.json"
POINTS: Final = ("high_recall", "balanced", "high_precision")


class BadModel(ValueError):
    """A model cannot be used. The message names the file, and says what to do."""


class Curve(Protocol):
    """Turns logits of texts of up to ``tokens`` tokens into confidence."""

    @property
    def tokens(self) -> int:
        """The longest text that it is for."""
        ...

    def confidence(self, logit: float) -> float:
        """Return how sure a logit is, 0 to 1."""
        ...


@dataclass(frozen=True, slots=True)
class Scale:
    """Turns logits of texts of up to ``tokens`` tokens into confidence, by straight lines between
    points. Below the first point confidence falls off to 0, above the last it stays."""

    tokens: int
    logits: tuple[float, ...]
    confidences: tuple[float, ...]

    def confidence(self, logit: float) -> float:
        """Return how sure a logit is, 0 to 1."""
        xs, ys = self.logits, self.confidences
        at = bisect_left(xs, logit)
        if at == 0:
            return ys[0] / (1.0 + xs[0] - logit)
        if at == len(xs):
            return ys[-1]
        share = (logit - xs[at - 1]) / (xs[at] - xs[at - 1])
        return ys[at - 1] + share * (ys[at] - ys[at - 1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What is to be known of a model beside its weights.

    ``tags`` are the network's labels for tokens, ``entities`` the kinds of findings that they
    stand for; without ``tags`` it names nobody. ``points`` are the confidences from which an attack
    is told, by name; without ``scales`` it tells of none. ``specials`` counts the tokens that the
    network reads around each window, ``begin`` and ``end`` by default.
    """

    folder: Path
    name: str
    version: str
    window: int
    overlap: int
    begin: int
    end: int
    tags: tuple[str, ...]
    entities: Mapping[str, str]
    entity_confidence: float
    points: Mapping[str, float]
    scales: tuple[Curve, ...]
    seal: str
    """A hash over all files: part of the key under which verdicts are remembered."""
    specials: int = 2
    attack: str = "prompt_injection"
    """The kind of finding that an attack is."""
    by_word: bool = False
    """Whether the tag of a word's first token is the tag of the word."""

    @property
    def room(self) -> int:
        """How many tokens of a text stand in a window."""
        return self.window - self.specials

    def confidence(self, logit: float, tokens: int) -> float:
        """Return how sure a text's worst logit is, given how long the text is."""
        scale = next((one for one in self.scales if tokens <= one.tokens), self.scales[-1])
        return scale.confidence(logit)


def read_manifest(folder: Path) -> Manifest:
    """Read ``model.json`` and check that the files beside it are those that it speaks of.

    Raises:
        BadModel: A file is missing, is another one, or says something that cannot be used.
    """
    said = _read(folder / "model.json")
    if said.get("format") != FORMAT:
        raise BadModel(
            f"{folder / 'model.json'}: format is {said.get('format')!r}, expected {FORMAT}; "
            "use a model that was exported for this version"
        )
    seals = [_check(folder / name, said) for name in (NETWORK, TOKENIZER)]
    try:
        return _manifest(folder, said, hashlib.sha256("".join(seals).encode()).hexdigest()[:16])
    except (KeyError, TypeError, ValueError) as error:
        raise BadModel(
            f"{folder / 'model.json'}: {type(error).__name__}: {error}; export the model again"
        ) from error


def _manifest(folder: Path, said: Mapping[str, Any], seal: str) -> Manifest:
    tags = tuple(map(str, said["tags"]))
    entities = {str(name): str(kind) for name, kind in said["entities"].items()}
    unknown = {tag.partition("-")[2] for tag in tags if tag != "O"} ^ set(entities)
    if tags[:1] != ("O",) or unknown:
        raise ValueError(f"tags and entities do not agree: {', '.join(sorted(unknown)) or tags}")
    points = {name: float(said["points"][name]) for name in POINTS}
    scales = tuple(_scale(one) for one in said["scales"])
    window, overlap = int(said["window"]), int(said["overlap"])
    if not scales or not 0 <= overlap < window - 2:
        raise ValueError("scales, window or overlap make no sense")
    return Manifest(
        folder=folder,
        name=str(said["name"]),
        version=str(said["version"]),
        window=window,
        overlap=overlap,
        begin=int(said["begin"]),
        end=int(said["end"]),
        tags=tags,
        entities=entities,
        entity_confidence=float(said["entity_confidence"]),
        points=points,
        scales=scales,
        seal=seal,
    )


def _scale(said: Mapping[str, Any]) -> Scale:
    points: Sequence[Sequence[float]] = said["points"]
    logits = tuple(float(logit) for logit, _ in points)
    confidences = tuple(float(confidence) for _, confidence in points)
    if len(logits) < 2 or list(logits) != sorted(set(logits)):
        raise ValueError("a scale needs two or more points with rising logits")
    if list(confidences) != sorted(confidences) or not 0 <= confidences[0] <= confidences[-1] <= 1:
        raise ValueError("the confidences of a scale must rise within 0 and 1")
    return Scale(int(said["tokens"]), logits, confidences)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        said = json.loads(path.read_bytes())
    except OSError as error:
        raise BadModel(
            f"{path}: {error.strerror}; a model is a folder with model.json, {NETWORK} and "
            f"{TOKENIZER}"
        ) from error
    except ValueError as error:
        raise BadModel(f"{path}: is no JSON; get the model's files again") from error
    if not isinstance(said, dict):
        raise BadModel(f"{path}: expected an object, found a {type(said).__name__}")
    return said


def _check(path: Path, said: Mapping[str, Any]) -> str:
    files = said.get("files")
    wanted = files.get(path.name) if isinstance(files, dict) else None
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise BadModel(f"{path}: {error.strerror}; get the model's files again") from error
    if found != wanted:
        raise BadModel(
            f"{path}: its SHA-256 is {found[:12]}…, model.json says {str(wanted)[:12]}…; the file "
            "is damaged or of another model: get the model's files again"
        )
    return found
