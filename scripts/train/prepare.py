"""Makes training texts as the gateway's detectors see them: folded, and decoded where they hide.

Runs in the gateway's own environment, since the model must be fed exactly what the gateway feeds
it. Usage: ``prepare.py DATA OUT [--names]``, where DATA has ``injection/`` and ``ner/``; with
``--names`` only the sentences with names are made. The texts that were written for the project, in
``texts/`` beside this file, are learned from with those of DATA.
"""

import argparse
import hashlib
import json
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Final

from llmtrace.analyzers.normalize import fold, views

WRITTEN: Final = Path(__file__).parent / "texts"
INJECTION: Final = ("train", "dev_indomain", "dev_ood")
TOKENS: Final = ("btc", "wnut17_train", "wikigold", "uner_ewt_dev")
"""NER files of tokens and tags. Not the SEC filings: they tag roles ("Lender") as names."""
ENTITIES: Final[Mapping[str, str]] = {
    "PER": "PERSON",
    "person": "PERSON",
    "ORG": "ORG",
    "corporation": "ORG",
    "group": "ORG",
    "LOC": "LOCATION",
    "location": "LOCATION",
    "PERSON": "PERSON",
    "ORGANIZATION": "ORG",
    "LOCATION": "LOCATION",
    "GPE": "LOCATION",
    "ADDRESS": "ADDRESS",
    "STREET_ADDRESS": "ADDRESS",
}
HELD_BACK: Final = 10
"""One in so many presidio sentences is for measuring alone."""


def readings(text: str) -> list[str]:
    """Return what the gateway reads in a text: itself, folded, and each further view of it."""
    folded = fold(text)
    return [folded.text, *(view.text for view in views(folded).views)]


def injection_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Go through the rows of one file. ``texts`` are the readings, the plain one first."""
    for line in path.open(encoding="utf-8"):
        row = {"source": "written", **json.loads(line)}
        yield {**row, "texts": readings(row["text"])}


def spans_of(tokens: list[str], tags: list[str]) -> tuple[str, list[tuple[int, int, str]]]:
    """Join tokens with spaces; return the text and its entities as ``(start, end, label)``."""
    spans: list[tuple[int, int, str]] = []
    at, open_ = 0, False
    for token, tag in zip(tokens, tags, strict=True):
        prefix, _, name = tag.partition("-")
        label = ENTITIES.get(name)
        end = at + len(token)
        if label and prefix == "I" and open_ and spans[-1][2] == label:
            spans[-1] = (spans[-1][0], end, label)
        elif label:
            spans.append((at, end, label))
        open_ = label is not None
        at = end + 1
    return " ".join(tokens), spans


def entity_rows(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Go through all sentences with the set that each belongs to: train or a development set."""
    for name in TOKENS:
        for line in (folder / f"{name}.jsonl").open(encoding="utf-8"):
            row = json.loads(line)
            text, spans = spans_of(row["tokens"], row["tags"])
            where = "ner_dev_ewt" if name == "uner_ewt_dev" else "ner_train"
            yield where, {"text": text, "spans": spans, "source": name}
    for line in (folder / "presidio_sentences.jsonl").open(encoding="utf-8"):
        row = json.loads(line)
        spans = [
            (span["start"], span["end"], ENTITIES[span["type"]])
            for span in row["spans"]
            if span["type"] in ENTITIES
        ]
        held = int(hashlib.sha256(row["text"].encode()).hexdigest(), 16) % HELD_BACK == 0
        where = "ner_dev_presidio" if held else "ner_train"
        yield where, {"text": row["text"], "spans": sorted(spans), "source": "presidio"}


def refolded(row: dict[str, Any]) -> dict[str, Any]:
    """Return a sentence as it reads folded, its entities where they stand then."""
    folded = fold(row["text"])
    spans = [(folded.at(start), folded.at(end), label) for start, end, label in row["spans"]]
    return {**row, "text": folded.text, "spans": spans}


def write_texts(data: Path, out: Path) -> None:
    """Write the texts that are attacks or none."""
    for name in INJECTION:
        with (out / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            paths = [data / "injection" / f"{name}.jsonl"]
            if name == "train":
                paths += sorted(WRITTEN.glob("*.jsonl"))
            for row in chain.from_iterable(map(injection_rows, paths)):
                file.write(json.dumps(row) + "\n")


def write_names(data: Path, out: Path) -> None:
    """Write the sentences with names: those to learn from, and those that are held back."""
    sets = ("ner_train", "ner_dev_ewt", "ner_dev_presidio")
    files = {name: (out / f"{name}.jsonl").open("w", encoding="utf-8") for name in sets}
    for where, row in entity_rows(data / "ner"):
        files[where].write(json.dumps(refolded(row)) + "\n")
    for file in files.values():
        file.close()


def main() -> None:
    """Write the prepared files, and what they were made of."""
    parser = argparse.ArgumentParser(description="Makes texts as the detectors see them.")
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--names", action="store_true", help="only the sentences with names")
    args = parser.parse_args()
    data, out = args.data, args.out
    out.mkdir(parents=True, exist_ok=True)
    write_names(data, out)
    if args.names:
        return
    write_texts(data, out)
    sources = sorted([*data.glob("injection/*.jsonl"), *data.glob("ner/*.jsonl")])
    sources += sorted(WRITTEN.glob("*.jsonl"))
    hashes = {
        f"{path.parent.name}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sources
    }
    (out / "data.json").write_text(json.dumps(hashes, indent=2) + "\n")


if __name__ == "__main__":
    main()
