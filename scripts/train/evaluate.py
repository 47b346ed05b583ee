"""What a model is worth on texts that it was not trained on."""

from collections.abc import Sequence

import torch
from data import Sentence, Text, padded, windows
from encoder import TAGS, Encoder


@torch.no_grad()
def scores(model: Encoder, found: list[list[Text]]) -> list[float]:
    """Return the worst logit of each row, over its readings and their windows."""
    cut = [
        (row, window)
        for row, readings in enumerate(found)
        for one in readings
        for window in windows(one.ids)
    ]
    cut.sort(key=lambda item: len(item[1]))
    worst = [float("-inf")] * len(found)
    for at in range(0, len(cut), 48):
        part = cut[at : at + 48]
        logits, _ = model(*padded([window for _, window in part]))
        for (row, _), logit in zip(part, logits.tolist(), strict=True):
            worst[row] = max(worst[row], logit)
    return worst


def auc(good: Sequence[float], bad: Sequence[float]) -> float:
    """Return the share of pairs in which the attack scores higher."""
    ranked = sorted([(score, 0) for score in good] + [(score, 1) for score in bad])
    total, at = 0.0, 0
    while at < len(ranked):
        to = at
        while to < len(ranked) and ranked[to][0] == ranked[at][0]:
            to += 1
        total += sum(label for _, label in ranked[at:to]) * (at + to + 1) / 2
        at = to
    count = len(bad)
    return (total - count * (count + 1) / 2) / (count * len(good))


def recall_at(good: Sequence[float], bad: Sequence[float], rate: float) -> tuple[float, float]:
    """Return recall, and the threshold, where at most ``rate`` of the good are flagged."""
    threshold = sorted(good, reverse=True)[int(rate * len(good))]
    return sum(score > threshold for score in bad) / len(bad), threshold


def injection_scores(model: Encoder, found: list[list[Text]]) -> dict[str, float]:
    """Return AUC, and recall at 0.1, 1 and 5 % false positives."""
    worst = scores(model, found)
    labels = [readings[0].label for readings in found]
    good = [score for score, label in zip(worst, labels, strict=True) if not label]
    bad = [score for score, label in zip(worst, labels, strict=True) if label]
    said = {"auc": round(auc(good, bad), 4)}
    for rate in (0.001, 0.01, 0.05):
        recall, threshold = recall_at(good, bad, rate)
        said[f"recall_{rate}"] = round(recall, 4)
        said[f"threshold_{rate}"] = round(threshold, 3)
    return said


def entities(tags: Sequence[int]) -> set[tuple[int, int, str]]:
    """Return the entities of a tag sequence as (start, end, label) in tokens."""
    made: set[tuple[int, int, str]] = set()
    start, label = -1, ""
    for at, tag in enumerate([*tags, 0]):
        place, _, name = TAGS[tag].partition("-")
        if start >= 0 and (place != "I" or name != label):
            made.add((start, at, label))
            start = -1
        if place == "B" or (place == "I" and start < 0):
            start, label = at, name
    return made


@torch.no_grad()
def entity_scores(model: Encoder, found: list[Sentence]) -> dict[str, float]:
    """Return precision, recall and F1 of whole entities."""
    right = said = there = 0
    for at in range(0, len(found), 64):
        part = found[at : at + 64]
        _, logits = model(*padded([one.ids for one in part]))
        best = logits.argmax(-1)
        for row, one in enumerate(part):
            guessed = entities(best[row, 1 : len(one.ids) + 1].tolist())
            known = entities(one.tags)
            right += len(guessed & known)
            said += len(guessed)
            there += len(known)
    precision, recall = right / max(said, 1), right / max(there, 1)
    f1 = 2 * precision * recall / max(precision + recall, 1e-9)
    return {"precision": round(precision, 4), "recall": round(recall, 4), "f1": round(f1, 4)}
