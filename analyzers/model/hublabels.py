"""What the labels of published classifiers mean: which is an attack, which a kind of name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

import yaml

from llmtrace.analyzers.ensemble import ATTACKS
from llmtrace.analyzers.kinds import kinds

NONE: Final = "none"
REST: Final = "*"
_PLACES: Final = {"B": "B", "I": "I", "E": "I", "L": "I", "M": "I", "S": "B", "U": "B"}
"""How a tag says where in a name its token stands (BIO, BIOES, BILOU), as BIO says it."""
_MOST_TOLD: Final = 12


class UnknownLabels(ValueError):
    """Labels are not known by their names; the message says what to write."""


@dataclass(frozen=True, slots=True)
class TextLabels:
    """The labels of a sequence classifier: which places are attacks, and of which kind."""

    attacks: tuple[int, ...]
    kind: str


@dataclass(frozen=True, slots=True)
class TokenLabels:
    """The labels of a token classifier as BIO tags, and the kinds that their names stand for.

    ``tags`` may be longer than the labels: each name can go on (``I-``).
    """

    tags: tuple[str, ...]
    entities: Mapping[str, str]


def text_labels(labels: Sequence[str], said: Mapping[str, str]) -> TextLabels:
    """Read the labels of a sequence classifier, in order; ``said`` comes first.

    Raises:
        UnknownLabels: One is not known, or none of them is an attack.
    """
    if [one.upper() for one in labels] == ["LABEL_0", "LABEL_1"]:
        said = {"LABEL_0": NONE, "LABEL_1": "prompt_injection", **said}
    meant = _meant(labels, said, _known("texts"), "prompt_injection")
    attacks = tuple(place for place, label in enumerate(labels) if meant[label] != NONE)
    wrong = {kind for kind in meant.values() if kind != NONE and kind not in ATTACKS}
    if wrong:
        raise UnknownLabels(
            f"{', '.join(sorted(wrong))} is no attack, and this model judges whole texts; "
            f"write one of {', '.join(sorted(ATTACKS))} or {NONE}"
        )
    if not attacks or (len(attacks) == len(labels) > 1):
        raise UnknownLabels(
            f"of the labels {_told(labels)} {'each' if attacks else 'none'} is an attack; say "
            f"which is: labels: {{{labels[-1]}: prompt_injection}}, and {NONE} for the others"
        )
    some = {meant[labels[place]] for place in attacks}
    return TextLabels(attacks, some.pop() if len(some) == 1 else "prompt_injection")


def token_labels(labels: Sequence[str], said: Mapping[str, str]) -> TokenLabels:
    """Read the labels of a token classifier, in order; ``said`` comes first.

    Raises:
        UnknownLabels: One is not known, or none of them is the name of anything.
    """
    parted = [_parted(label) for label in labels]
    names = list(dict.fromkeys(name for _, name in parted if name != "O"))
    meant = _meant(names, said, _known("names"), "pii.person")
    entities = {_plain(name): kind for name, kind in meant.items() if kind != NONE}
    if not entities:
        raise UnknownLabels(
            f"none of the labels {_told(names)} is a name; say which is: labels: "
            f"{{{(names or ['PER'])[0]}: pii.person}}"
        )
    tags = [
        f"{place}-{_plain(name)}" if _plain(name) in entities else "O" for place, name in parted
    ]
    tags += [f"I-{name}" for name in entities if f"I-{name}" not in tags]
    return TokenLabels(tuple(tags), entities)


def kind_of(name: str) -> str | None:
    """Return the kind that a name's label stands for, or is; ``none`` for what is no finding.

    Labels that nobody knows have None.
    """
    return name if name in kinds() else _known("names").get(_plain(name))


def _meant(
    names: Sequence[str], said: Mapping[str, str], known: Mapping[str, str], example: str
) -> dict[str, str]:
    unknown = [kind for kind in said.values() if kind != NONE and kind not in kinds()]
    if unknown:
        raise UnknownLabels(
            f"labels: {unknown[0]!r} is no kind of finding; docs/detection.md has all"
        )
    strange = [name for name in said if name not in (REST, *names)]
    if strange:
        raise UnknownLabels(f"labels: the model has no {strange[0]!r}, only {_told(names)}")
    rest = said.get(REST)
    meant = {name: said.get(name) or known.get(_plain(name)) or rest for name in names}
    missing = [name for name, kind in meant.items() if kind is None]
    if missing:
        raise UnknownLabels(
            f"what the labels {_told(missing)} mean is not known; say it: labels: "
            f"{{{missing[0]}: {example}}}, or {NONE} for what is no finding "
            f"('{REST}': {NONE} for all others)"
        )
    return {name: kind for name, kind in meant.items() if kind is not None}


def _parted(label: str) -> tuple[str, str]:
    """Part a tag: where in a name its token stands, and whose name it is."""
    place, dash, name = label.replace("_", "-", 1).partition("-")
    if dash and place.upper() in _PLACES:
        return _PLACES[place.upper()], name
    return ("I", label) if label.upper() not in ("O", "OTHER") else ("", "O")


def _plain(name: str) -> str:
    return name.lower().replace("-", "_").replace(" ", "_")


def _told(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_TOLD} more" if len(names) > _MOST_TOLD else ""
    return ", ".join(name[:64] for name in names[:_MOST_TOLD]) + more


@cache
def _known(which: str) -> Mapping[str, str]:
    text = (files("llmtrace.analyzers.model") / "hublabels.yaml").read_text(encoding="utf-8")
    table: Mapping[str, Mapping[str, str]] = yaml.safe_load(text)
    return table[which]
