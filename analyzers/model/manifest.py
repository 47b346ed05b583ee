"""The files of a model, and what its ``model.json`` says of them."""

import hashlib
import json
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from llmtrace.analyzers.kinds import kinds
from llmtrace.analyzers.model.members import array, mapping, member, number, share, text, whole

SHIPPED: Final = Path(__file__).parent / "shipped"
"""The folder of the model that comes with the gateway."""
SHIPPED_SEAL: Final = "b55bd5da5a24386e1b0995a61ac338fa883afd38ffcd6a2e9ee34583173ea482"
"""The SHA-256 of its ``model.json``, which has those of the others; by ``scripts/train/record``."""
FORMAT: Final = 1
SCRIPTS: Final = ("Latin", "Cyrillic", "Han")
"""Of these there were harmless texts as well as attacks in training: by their names in Unicode."""
NETWORK: Final = "model.onnx"
TOKENIZER: Final = "tokenizer.json"
LONGEST: Final = 512
"""Most tokens in a window: the time grows with the square."""
MOST_TOKENS: Final = 1 << 31
"""No token has this number, and no text this many."""
MAX_CONFIG_BYTES: Final = 4 << 20
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
    network reads around each window, ``begin`` and ``end`` by default. It reads letters of
    ``scripts``, of all where there are none.
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
    scripts: tuple[str, ...] = ()
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
    if folder.resolve() == SHIPPED.resolve():
        _check_shipped(folder / "model.json")
    if said.get("format") != FORMAT:
        found = repr(said.get("format"))[:40]
        raise BadModel(
            f"{folder / 'model.json'}: format is {found}, expected {FORMAT}; "
            "use a model that was exported for this version"
        )
    seals = [_check(folder / name, said) for name in (NETWORK, TOKENIZER)]
    try:
        return _manifest(folder, said, hashlib.sha256("".join(seals).encode()).hexdigest()[:16])
    except ValueError as error:
        raise BadModel(f"{folder / 'model.json'}: {error}; export the model again") from error


def _manifest(folder: Path, said: Mapping[str, Any], seal: str) -> Manifest:
    """Return what was said. Raises: ValueError, which names the member."""
    tags = member(said, "tags", lambda value: tuple(map(text, array(value))))
    entities = member(said, "entities", _entities)
    unknown = {tag.partition("-")[2] for tag in tags if tag != "O"} ^ set(entities)
    if tags[:1] != ("O",):
        raise ValueError("tags: expected O as the first")
    if unknown:
        raise ValueError(f"tags and entities do not agree: {', '.join(sorted(unknown)[:8])}")
    window = member(said, "window", whole(3, LONGEST))
    token = whole(0, MOST_TOKENS)
    return Manifest(
        folder=folder,
        name=member(said, "name", text),
        version=member(said, "version", text),
        window=window,
        overlap=member(said, "overlap", whole(0, window - 3)),
        begin=member(said, "begin", token),
        end=member(said, "end", token),
        tags=tags,
        entities=entities,
        entity_confidence=member(said, "entity_confidence", share),
        points=member(said, "points", _points),
        scales=member(said, "scales", _scales),
        scripts=SCRIPTS,
        seal=seal,
    )


def _entities(value: Any) -> Mapping[str, str]:
    names = mapping(value)
    return {name: member(names, name, _kind) for name in names}


def _kind(value: Any) -> str:
    if (name := text(value)) not in kinds():
        raise ValueError(f"{name!r} is no kind of finding; docs/detection.md has all")
    return name


def _points(value: Any) -> Mapping[str, float]:
    said = mapping(value)
    made = {name: member(said, name, share) for name in POINTS}
    if [*made.values()] != sorted(made.values()):
        raise ValueError(f"expected {' <= '.join(POINTS)}, found {[*made.values()]}")
    return made


def _scales(value: Any) -> tuple[Scale, ...]:
    made = tuple(_scale(mapping(one)) for one in array(value))
    if not made:
        raise ValueError("expected one or more, found none")
    lengths = [one.tokens for one in made]
    if lengths != sorted(set(lengths)):
        raise ValueError("expected rising tokens: each scale is for longer texts")
    return made


def _scale(said: Mapping[str, Any]) -> Scale:
    points = member(said, "points", lambda value: [_pair(one) for one in array(value)])
    logits, confidences = [logit for logit, _ in points], [sure for _, sure in points]
    if len(logits) < 2 or logits != sorted(set(logits)):
        raise ValueError("a scale needs two or more points with rising logits")
    if confidences != sorted(confidences):
        raise ValueError("the confidences of a scale must rise")
    tokens = member(said, "tokens", whole(1, MOST_TOKENS))
    return Scale(tokens, tuple(logits), tuple(confidences))


def _pair(value: Any) -> tuple[float, float]:
    pair = array(value)
    if len(pair) != 2:
        raise ValueError(f"expected a logit and its confidence, found {len(pair)} numbers")
    return number(pair[0]), share(pair[1])


def _read(path: Path) -> Mapping[str, Any]:
    try:
        if (size := path.stat().st_size) > MAX_CONFIG_BYTES:
            raise BadModel(
                f"{path}: has {size} bytes, expected {MAX_CONFIG_BYTES} at most; this is no "
                f"model's {path.name}"
            )
        said = json.loads(path.read_bytes())
    except OSError as error:
        raise BadModel(
            f"{path}: {error.strerror}; a model is a folder with model.json, {NETWORK} and "
            f"{TOKENIZER}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise BadModel(f"{path}: is no JSON; get the model's files again") from error
    if not isinstance(said, dict):
        raise BadModel(f"{path}: expected an object, found a {type(said).__name__}")
    return said


def _check_shipped(path: Path) -> None:
    """Check that the model that comes with the gateway is the one that was released."""
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != SHIPPED_SEAL:
        raise BadModel(
            f"{path}: its SHA-256 is {found[:12]}…, this version comes with {SHIPPED_SEAL[:12]}…; "
            "the file was changed: install the package again (who releases a model runs "
            "scripts/train/record)"
        )


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
