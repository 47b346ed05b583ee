"""Writes a trained model as the gateway loads it: ``export.py PREPARED OUT RUN… --version V``.

The weights are the mean of those of all runs, which differ in their seeds. The network becomes ONNX
with 8-bit weights. Confidence is calibrated on the development sets by
how rare a score is among their harmless texts, per length: 5 % of them reach 0.5, 1 % reach 0.7,
one in a thousand reaches 0.9.
"""

import argparse
import hashlib
import json
import tempfile
from bisect import bisect_left
from pathlib import Path
from typing import Any, Final

import onnx
import onnxruntime
import torch
from data import OVERLAP, Text, texts
from encoder import TAGS, WINDOW, Encoder
from evaluate import auc, recall_at, scores
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor
from train import plain_tokenizer

HEADS: Final = ("/look/", "/mix/", "/injection/", "/tags/")
"""Names of nodes that stay in full precision."""
RARE: Final = ((0.25, 0.2), (0.05, 0.5), (0.01, 0.7), (0.001, 0.9))
"""Share of harmless texts that score as high, and the confidence that this is worth."""
LENGTHS: Final = (64, 254, 1 << 30)
"""Texts of up to so many tokens are calibrated by themselves."""
LEAST: Final = 300
"""Harmless texts without which a length is calibrated as the next longer one."""
POINTS: Final = {"high_recall": 0.5, "balanced": 0.7, "high_precision": 0.9}
ENTITIES: Final = {
    "PERSON": "pii.person",
    "ORG": "pii.organization",
    "LOCATION": "pii.location",
    "ADDRESS": "pii.street_address",
}


class Exported:
    """The ONNX file behind the interface of the network."""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        self.session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits as the network does, a window at a time as in the gateway."""
        logits = torch.empty(len(ids))
        tags = torch.zeros(*ids.shape, len(TAGS))
        for row, length in enumerate(mask.sum(1).tolist()):
            one, of_tokens = self.session.run(None, {"ids": ids[row : row + 1, :length].numpy()})
            logits[row] = float(one[0])
            tags[row, :length] = torch.from_numpy(of_tokens[0])
        return logits, tags


def write_onnx(model: Encoder, path: Path) -> None:
    """Write the network with 8-bit weights, but for the heads: they are small, and decide.

    It reads windows that are not padded: what is written knows no mask.
    """
    ids = torch.randint(1000, 2000, (1, 64))
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.onnx"
        torch.onnx.export(
            model,
            (ids,),
            str(plain),
            input_names=["ids"],
            output_names=["injection", "tags"],
            dynamic_axes={
                "ids": {0: "windows", 1: "tokens"},
                "injection": {0: "windows"},
                "tags": {0: "windows", 1: "tokens"},
            },
            opset_version=17,
            custom_opsets={"com.microsoft": 1},
            dynamo=False,
        )
        heads = [node.name for node in onnx.load(plain).graph.node if node.name.startswith(HEADS)]
        heads += [f"{name}_MatMul" for name in heads]  # so a Gemm is called once it is taken apart
        quantize_dynamic(
            plain, path, weight_type=QuantType.QInt8, per_channel=True, nodes_to_exclude=heads
        )


def scale(good: list[float]) -> list[list[float]]:
    """Return the points of a scale from the scores of harmless texts."""
    points: list[list[float]] = []
    for share, confidence in RARE:
        _, threshold = recall_at(good, [0.0], share)
        if points and threshold <= points[-1][0]:
            threshold = points[-1][0] + 0.01
        points.append([round(threshold, 4), confidence])
    points.append([round(points[-1][0] + max(1.0, points[-1][0] - points[0][0]), 4), 0.99])
    return points


def confidence(scales: list[dict[str, Any]], logit: float, tokens: int) -> float:
    """Turn a logit into confidence as the gateway does."""
    found = next((one for one in scales if tokens <= one["tokens"]), scales[-1])
    xs, ys = zip(*found["points"], strict=True)
    at = bisect_left(xs, logit)
    if at == 0:
        return ys[0] / (1.0 + xs[0] - logit)
    if at == len(xs):
        return ys[-1]
    return ys[at - 1] + (logit - xs[at - 1]) / (xs[at] - xs[at - 1]) * (ys[at] - ys[at - 1])


def longest(readings: list[Text]) -> int:
    """Return the tokens of a row's plain reading."""
    return len(readings[0].ids)


def calibrated(found: list[list[Text]], worst: list[float]) -> list[dict[str, Any]]:
    """Return a scale per length, from the harmless texts of all development sets."""
    made: list[dict[str, Any]] = []
    for at, tokens in enumerate(LENGTHS):
        shortest = LENGTHS[at - 1] if at else 0
        good = [
            score
            for readings, score in zip(found, worst, strict=True)
            if not readings[0].label and shortest < longest(readings) <= tokens
        ]
        if len(good) < LEAST:
            good = [s for r, s in zip(found, worst, strict=True) if not r[0].label]
        made.append({"tokens": tokens, "points": scale(good), "harmless": len(good)})
    return made


def measured(
    found: list[list[Text]], worst: list[float], scales: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return AUC and rates of one set, after calibration."""
    sure = [
        confidence(scales, score, longest(readings))
        for readings, score in zip(found, worst, strict=True)
    ]
    labels = [readings[0].label for readings in found]
    good = [s for s, label in zip(sure, labels, strict=True) if not label]
    bad = [s for s, label in zip(sure, labels, strict=True) if label]
    said: dict[str, Any] = {
        "harmless": len(good),
        "attacks": len(bad),
        "auc": round(auc(good, bad), 4),
    }
    for name, least in POINTS.items():
        said[name] = {
            "recall": round(sum(s >= least for s in bad) / len(bad), 4),
            "false_positives": round(sum(s >= least for s in good) / len(good), 4),
        }
    for rate in (0.001, 0.01, 0.05):
        said[f"recall_at_{rate}"] = round(recall_at(good, bad, rate)[0], 4)
    return said


def main() -> None:
    """Export, calibrate and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--version", required=True)
    args = parser.parse_args()
    kept = [torch.load(run / "model.pt") for run in args.runs]
    model = mean_of(kept)
    args.out.mkdir(parents=True, exist_ok=True)
    write_onnx(model, args.out / "model.onnx")
    tokenizer = plain_tokenizer()
    (args.out / "tokenizer.json").write_text(tokenizer.to_str())
    exported = Exported(args.out / "model.onnx")
    sets = {
        name: texts(args.data / f"{name}.jsonl", tokenizer, train=False)
        for name in ("dev_ood", "dev_indomain")
    }
    worst = {name: scores(exported, found) for name, found in sets.items()}
    plain = {name: scores(model, found) for name, found in sets.items()}
    scales = calibrated(
        [r for f in sets.values() for r in f], [s for w in worst.values() for s in w]
    )
    files = {
        name: hashlib.sha256((args.out / name).read_bytes()).hexdigest()
        for name in ("model.onnx", "tokenizer.json")
    }
    drift = [abs(a - b) for name in sets for a, b in zip(worst[name], plain[name], strict=True)]
    manifest = {
        "format": 1,
        "name": "llmtrace-small",
        "version": args.version,
        "files": files,
        "window": WINDOW,
        "overlap": OVERLAP,
        "begin": 101,
        "end": 102,
        "layers": kept[0]["layers"],
        "tags": list(TAGS),
        "entities": ENTITIES,
        "entity_confidence": 0.8,
        "points": POINTS,
        "scales": scales,
        "measured": {name: measured(sets[name], worst[name], scales) for name in sets},
        "drift": {
            "largest": round(max(drift), 3),
            "mean": round(sum(drift) / len(drift), 4),
            "auc_8bit_ood": auc_of(sets["dev_ood"], worst["dev_ood"]),
            "auc_plain_ood": auc_of(sets["dev_ood"], plain["dev_ood"]),
        },
        "seeds": [one["said"] for one in kept],
        "data": json.loads((args.data / "data.json").read_text()),
    }
    (args.out / "model.json").write_text(json.dumps(manifest, indent=1) + "\n")
    print(json.dumps({"measured": manifest["measured"], "drift": manifest["drift"]}, indent=1))


def mean_of(kept: list[dict[str, Any]]) -> Encoder:
    """Return the network with the mean of the weights of several runs."""
    model = Encoder(layers=kept[0]["layers"]).eval()
    weights = [one["model"] for one in kept]
    names = weights[0].keys()
    model.load_state_dict({n: torch.stack([one[n] for one in weights]).mean(0) for n in names})
    return model


def auc_of(found: list[list[Text]], worst: list[float]) -> float:
    """Return the AUC of raw scores."""
    good = [s for r, s in zip(found, worst, strict=True) if not r[0].label]
    bad = [s for r, s in zip(found, worst, strict=True) if r[0].label]
    return round(auc(good, bad), 4)


if __name__ == "__main__":
    main()
