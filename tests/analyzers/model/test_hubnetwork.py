import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmtrace.analyzers.model.hubnetwork import HubNetwork
from llmtrace.analyzers.model.hubrepository import HubSpec, Repository, read_repository
from llmtrace.analyzers.model.manifest import BadModel
from llmtrace.analyzers.model.network import BadReading
from llmtrace.analyzers.model.reading import Window
from llmtrace.testing import onnxfile
from llmtrace.testing.tinymodels import (
    ATTACKS,
    BROKEN,
    SURE,
    Files,
    logits,
    text_classifier,
    token_classifier,
    tokenizer,
    write,
)

LABELS = ("SAFE", "INJECTION")
IGNORE = 3
"""The first token behind the special ones: "ignore"."""


def repository(folder: Path, files: Files | None = None) -> Repository:
    made = write(text_classifier() if files is None else files, folder)
    return read_repository(made, HubSpec(id="owner/name"))


def network(**options: Any) -> Files:
    made = onnxfile.classifier(logits("texts", ATTACKS, LABELS), **options)
    return {**text_classifier(), "onnx/model.onnx": made}


def window(*ids: int) -> Window:
    return Window(ids, [(n, n + 1) for n in range(len(ids))])


@pytest.mark.parametrize("make", [text_classifier, token_classifier])
def test_numbers_that_are_none_are_no_reading(tmp_path: Path, make: Any) -> None:
    read = HubNetwork(repository(tmp_path, make({"ignore": BROKEN}))).read
    read([window(0, 0)])
    with pytest.raises(BadReading):
        read([window(0, IGNORE)])


def test_a_text_has_the_odds_of_an_attack(tmp_path: Path) -> None:
    read = HubNetwork(repository(tmp_path)).read
    plain, attack = read([window(0, 0), window(0, IGNORE)])
    assert (plain.logit, attack.logit) == (-SURE / 2, SURE / 2)
    assert (attack.tags, attack.certainty) == ((), ())


def test_all_attacks_together_are_the_odds_of_one(tmp_path: Path) -> None:
    labels = ("BENIGN", "INJECTION", "JAILBREAK")
    files = text_classifier({"ignore": "INJECTION"}, labels=labels)
    (made,) = HubNetwork(repository(tmp_path, files)).read([window(0, IGNORE)])
    assert made.logit == pytest.approx(np.logaddexp(SURE, 0) - SURE / 2)


def test_labels_that_do_not_exclude_each_other_are_taken_alone(tmp_path: Path) -> None:
    files = text_classifier(problem_type="multi_label_classification")
    (made,) = HubNetwork(repository(tmp_path, files)).read([window(IGNORE)])
    assert made.logit == SURE


def test_each_token_has_its_tag_and_the_special_ones_none(tmp_path: Path) -> None:
    read = HubNetwork(repository(tmp_path, token_classifier())).read
    (made,) = read([window(0, 3, 4)])
    assert list(made.tags) == [0, 1, 2]
    assert all(0.9 < sure <= 1 for sure in made.certainty)
    assert made.logit == -math.inf


@pytest.mark.parametrize(
    "options",
    [
        {"inputs": ("input_ids",)},
        {"inputs": ("input_ids", "attention_mask", "token_type_ids")},
        {"kind": onnxfile.INT32},
        {"output": "scores"},
    ],
    ids=["ids-alone", "types", "32-bits", "one-output"],
)
def test_what_exports_differ_in_is_no_matter(tmp_path: Path, options: dict[str, Any]) -> None:
    made = HubNetwork(repository(tmp_path, network(**options)))
    assert made.read([window(IGNORE)])[0].logit == SURE / 2


def test_tokens_around_a_text_are_those_of_the_tokenizer(tmp_path: Path) -> None:
    assert HubNetwork(repository(tmp_path)).specials == 2
    said = json.loads(tokenizer(ATTACKS))
    said["post_processor"] = None
    bare = {**text_classifier(), "tokenizer.json": json.dumps(said).encode()}
    assert HubNetwork(repository(tmp_path, bare)).specials == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"inputs": ("ids", "mask")}, r"asks for ids, mask, expected input_ids"),
        ({"inputs": ("input_ids", "pixel_values")}, "asks for input_ids, pixel_values"),
        ({"length": 16}, "takes texts of one length"),
        ({"kind": onnxfile.FLOAT}, r"cannot be loaded|no whole numbers"),
        ({"opset": 99}, r"cannot be loaded \(.*\): it asks for opset 99 of ai\.onnx"),
    ],
    ids=["other-names", "pictures", "one-length", "not-numbers", "opset"],
)
def test_a_network_of_another_make_is_refused(
    tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadModel, match=rf"model\.onnx: .*({said})"):
        HubNetwork(repository(tmp_path, network(**options)))


@pytest.mark.parametrize("keep", [0, 10, -20], ids=["empty", "head", "cut-short"])
def test_a_network_that_was_cut_is_named(tmp_path: Path, keep: int) -> None:
    files = text_classifier()
    files["onnx/model.onnx"] = files["onnx/model.onnx"][:keep]
    with pytest.raises(BadModel, match=r"model\.onnx: cannot be loaded"):
        HubNetwork(repository(tmp_path, files))


def test_a_network_with_other_labels_is_refused(tmp_path: Path) -> None:
    made = onnxfile.classifier(logits("texts", ATTACKS, ("a", "b", "c", "INJECTION")))
    files = {**text_classifier(), "onnx/model.onnx": made}
    with pytest.raises(BadModel, match=r"shape \(4,\), expected \(2,\); config\.json is another"):
        HubNetwork(repository(tmp_path, files))


def test_a_network_that_judges_tokens_where_texts_are_judged_is_refused(tmp_path: Path) -> None:
    made = onnxfile.classifier(logits("tokens", ATTACKS, LABELS), over="tokens")
    files = {**text_classifier(), "onnx/model.onnx": made}
    with pytest.raises(BadModel, match="or of another kind of classifier"):
        HubNetwork(repository(tmp_path, files))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({str(n): "" for n in range(50)}, r"has 53 tokens, config\.json says 5"),
        ({}, r"has 3 tokens, config\.json says 5"),
    ],
    ids=["more", "fewer"],
)
def test_a_tokenizer_of_another_model_is_refused(
    tmp_path: Path, words: dict[str, str], said: str
) -> None:
    files = {**text_classifier(), "tokenizer.json": tokenizer(words)}
    with pytest.raises(BadModel, match=rf"tokenizer\.json: {said}; the file is another model's"):
        HubNetwork(repository(tmp_path, files))


def test_a_tokenizer_that_says_more_than_the_network_knows_is_refused(tmp_path: Path) -> None:
    words = {"the": "", **{str(n): "" for n in range(50)}, "Norway": ""}
    files = {**text_classifier(vocab_size=None), "tokenizer.json": tokenizer(words)}
    with pytest.raises(BadModel, match=r"cannot read a sentence .*does not fit tokenizer\.json"):
        HubNetwork(repository(tmp_path, files))


def test_a_file_that_is_no_tokenizer_is_named(tmp_path: Path) -> None:
    made = repository(tmp_path, {**text_classifier(), "tokenizer.json": b"{}"})
    with pytest.raises(BadModel, match=r"tokenizer\.json: is no tokenizer"):
        HubNetwork(made)
    nowhere = dataclasses.replace(made.manifest, folder=tmp_path / "onnx")
    with pytest.raises(BadModel, match=r"tokenizer\.json: is not there"):
        HubNetwork(dataclasses.replace(made, manifest=nowhere))
