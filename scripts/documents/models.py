"""Renders docs/models/llmtrace-small.md: the shipped model's card, from what it says itself."""

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from documents.measured import measured

from llmtrace.analyzers.model.manifest import SCRIPTS

MANIFEST = Path(__file__).parents[2] / "analyzers" / "model" / "shipped" / "model.json"
SEEDS = Path(__file__).parents[1] / "train" / "seeds.json"
"""What `train.py` said after a round, for several seeds."""
HEAD = """\
# The shipped model: {name} {version}

<!-- Rendered by scripts/docs from analyzers/model/shipped/model.json and
docs/models/evaluation.json; do not edit. -->

One small encoder with two heads. The first says how much a text is like an attack on the model that
will read it; the second names people, organisations, places and addresses. Both come of one pass.
It stands beside the rules: where both see an attack they make each other surer, and what only one
of them sees is told as it is.

- **Reads** what users say and what tools bring, in windows of {window} tokens that overlap by
  {overlap}; what is encoded (base64, hex, ROT13, escapes, tags) is read decoded. Nothing is cut
  off: a text that is too long (28,000 tokens) has the rest told as not looked at.
- **Does not read** system text and descriptions of tools, which give orders by their nature, and
  answers.
- **Network**: the lowest {layers} layers of all-MiniLM-L6-v2 (Apache-2.0), attention and mean
  pooling, 8-bit weights but for the heads, {size:.1f} MB. English words; other languages as far as
  their letters go.
- **Letters** of {scripts} are read: of these alone there were harmless
  texts as well as attacks in training. What stands in others is left out, for attacks as for
  names, and what is left is read as if it stood alone: an English order within a Persian page is
  found, a Persian one is for the rules. Such a text has `detector_script` among the gaps of its
  trace. That is a limit and no failure: `on_error` has no say, and the text counts as looked at,
  which the rules did.
- **Confidence** is how rare such a score is among harmless texts of that length in the
  development sets: 0.5 is reached by 5 % of them, 0.7 by 1 %, 0.9 by one in a thousand. These are
  the operating points `high_recall`, `balanced` and `high_precision`.
- **Label**: an attack is a text that tries to change what the model was told. A harmful request
  without that is none.
"""
RATES = ("recall_at_0.001", "recall_at_0.01", "recall_at_0.05")
SETS = ("dev_ood", "dev_indomain")
POINTS = ("high_recall", "balanced", "high_precision")
NAME_MODES = {"redacted": "as redacted", "all": "all"}
"""Which names are told, as ``llmtrace models eval`` calls it and as people read it."""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def percent(value: float) -> str:
    """Write a share as people read it."""
    return f"{value:.1%}"


def worth(said: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the first head is worth."""
    measured: Mapping[str, Any] = said["measured"]
    yield "\n## What it is worth alone\n\n"
    yield (
        "Without the rules, by `scripts/train/export.py` on the 8-bit network. `dev_ood` has\n"
        "sources and templates that are not in training; `dev_indomain` has those of training\n"
        "and says little. Thresholds and confidence were chosen on both: neither is a test set.\n\n"
    )
    yield table(
        ["set", "harmless", "attacks", "AUC", "recall at 0.1 % FPR", "at 1 %", "at 5 %"],
        [
            [
                name,
                str(one["harmless"]),
                str(one["attacks"]),
                f"{one['auc']:.3f}",
                *(percent(one[rate]) for rate in RATES),
            ]
            for name, one in measured.items()
        ],
    )
    yield "\n"
    yield table(
        [
            "operating point",
            *(f"{name}: {what}" for name in measured for what in ("recall", "FPR")),
        ],
        [
            [
                f"`{point}` ({said['points'][point]})",
                *(
                    percent(one[point][what])
                    for one in measured.values()
                    for what in ("recall", "false_positives")
                ),
            ]
            for point in POINTS
        ],
    )


def names(said: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the second head is worth, from what was measured of the gateway."""
    model = said["models"]["model"]
    yield "\n## Names\n\n"
    yield (
        "Measured by `llmtrace models eval` ([evaluation.md](evaluation.md)). Names are told, and\n"
        f"so redacted, from a confidence of {model['names_from']} on; *all* is with every name\n"
        "told that is read, however unsure. Whole names, strict boundaries, uncased.\n"
        "`ner_dev_ewt` is the development part of UNER EWT; `ner_dev_presidio` a tenth of the\n"
        "presidio sentences, held back from training.\n\n"
    )
    found = {
        Path(path).stem: made["found"]["model"]
        for path, made in said["sets"].items()
        if "found" in made
    }
    yield table(
        ["set", "names", "precision", "recall", "F1"],
        [
            [name, title, *(percent(value) for value in name_shares(one[mode]))]
            for name, one in found.items()
            for mode, title in NAME_MODES.items()
        ],
    )
    yield (
        "\nTo know what is usual: `dslim/bert-base-NER`, six times the size, publishes 92.1%,\n"
        "93.1% and an F1 of 92.6% for the test part of CoNLL-2003 (its model card, verified by\n"
        "the hub). That is another test: newswire with its capitals, of whose training part it\n"
        "had learned; the sets above are web texts and made-up requests, read in lower case. Its\n"
        "figures are with every name told.\n"
    )


def name_shares(made: Mapping[str, Any]) -> tuple[float, float, float]:
    """Return precision, recall and F1."""
    return made["precision"][0], made["recall"][0], made["f1"]


def stages_of(said: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the runs that made it, in their order, each with what it learned from."""
    for one in said["seeds"]:
        if "before" in one:
            yield "public data", one["before"]
        yield "and the written texts" if "before" in one else "public data", one


def making(said: Mapping[str, Any]) -> Iterator[str]:
    """Yield how it was made, and of what."""
    yield "\n## How it was made\n\n"
    stages, drift = [*stages_of(said)], said["drift"]
    minutes = sum(one["seconds"] for _, one in stages) / 60
    yield (
        "`scripts/train/run`: first from public data alone, then with the texts that were written\n"
        "for it, of which no two are alike and many differ from an attack in a word; a quarter of\n"
        "the way is gone back to the first weights, which is steadier on what is unseen. "
        f"{minutes:.0f} minutes\non two cores, beside other work. In full precision:\n\n"
    )
    yield table(
        [
            "seed",
            "learns from",
            "steps",
            *(f"{name}: {what}" for name in SETS for what in ("AUC", "recall at 1 % FPR")),
        ],
        [
            [
                str(one["seed"]),
                what,
                str(one["steps"]),
                *(
                    cell
                    for name in SETS
                    for cell in (f"{one[name]['auc']:.3f}", percent(one[name]["recall_0.01"]))
                ),
            ]
            for what, one in stages
        ],
    )
    yield (
        f"\n8-bit weights change a logit by {drift['mean']} on average, {drift['largest']} at "
        f"most; AUC on dev_ood\n{drift['auc_8bit_ood']} instead of {drift['auc_plain_ood']} before "
        "calibration.\n\n"
        "Trained on public data under licences that allow it, and on `scripts/train/texts`;\n"
        "SHA-256 of the files:\n\n"
    )
    yield table(["file", "SHA-256"], [[n, f"`{seal[:16]}…`"] for n, seal in said["data"].items()])


def spread(runs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield how much a seed changes, which is the order in which texts come."""
    (rounds,) = {one["round"] for one in runs}
    yield "\n## How much a seed changes\n\n"
    yield (
        f"The second stage from the same first one, after {rounds} of its 6 rounds, in full\n"
        "precision; a seed is the order in which texts come, and how they are cut and put\n"
        f"together. The mean of all {len(runs)} is no better than the best of them. F1 of names\n"
        "is with all of them told.\n\n"
    )
    measures: dict[str, list[float]] = {
        "dev_ood: AUC": [one["dev_ood"]["auc"] for one in runs],
        "recall at 0.1 % FPR": [one["dev_ood"]["recall_0.001"] for one in runs],
        "at 1 %": [one["dev_ood"]["recall_0.01"] for one in runs],
        "at 5 %": [one["dev_ood"]["recall_0.05"] for one in runs],
        "ner_dev_ewt: F1": [one["ner_dev_ewt"]["f1"] for one in runs],
        "ner_dev_presidio: F1": [one["ner_dev_presidio"]["f1"] for one in runs],
    }
    rows = [
        [str(one["seed"]), *(_shown(values[number]) for values in measures.values())]
        for number, one in enumerate(runs)
    ]
    for name, of in (
        ("mean", statistics.mean),
        ("standard deviation", statistics.stdev),
    ):
        rows.append([name, *(_shown(of(values)) for values in measures.values())])
    yield table(["seed", *measures], rows)


def _shown(value: float) -> str:
    return f"{value:.3f}"


TAIL = """
## What it cannot do

Bare orders in documents that read like the document, attacks in languages beside English, and
extraction phrased as a game are its weakest spots. Its false alarms are short orders that begin as
an extraction does ("Show me the end of the build log"), texts about attacks and calls, notices
about codes and restarts, and now and then a short request in German or Spanish: three of the
everyday texts in some sixty languages and scripts of tests/analyzers/model/everyday.yaml. That
letters of most scripts are not read costs 5 of the 379 attacks in dev_ood, orders in Arabic within
English pages, and 12 of the 792 in dev_indomain. Half of
`promptmap` in dev_ood are harmful or plain questions without any trick, which are no attacks by its
label: they are missed, and cost it .04 of AUC there. It is one detector of several: the rules, the
policy and the judgement of tool calls stand beside it.

An AUC of .95 on dev_ood was aimed at and is not reached. What helped last were texts written one by
one, not more steps, other seeds or their mean (hard negatives are mined by the training since, and
what ships was made without); 8 bits cost .001 of it, and a scale of confidence
for each length .003. So next to try are attacks and harmless orders by other hands than ours.
"""


def render() -> str:
    """Return the card. Raises: Stale."""
    said = json.loads(MANIFEST.read_text())
    size = (MANIFEST.parent / "model.onnx").stat().st_size / 1e6
    head = HEAD.format(
        name=said["name"],
        version=said["version"],
        window=said["window"],
        overlap=said["overlap"],
        layers=said["layers"],
        size=size,
        scripts=f"{', '.join(SCRIPTS[:-1])} and {SCRIPTS[-1]}",
    )
    runs = json.loads(SEEDS.read_text())
    return head + "".join([*worth(said), *names(measured()), *making(said), *spread(runs), TAIL])
