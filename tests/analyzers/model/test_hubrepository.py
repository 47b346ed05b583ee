import json
import math
from pathlib import Path
from typing import Any

import pytest

from llmtrace.analyzers.model.hubrepository import HubSpec, Logistic, Repository, read_repository
from llmtrace.analyzers.model.manifest import BadModel
from llmtrace.testing.tinymodels import text_classifier, token_classifier, write

SPEC = HubSpec(id="owner/name")


def read(folder: Path, spec: HubSpec = SPEC, **config: Any) -> Repository:
    return read_repository(write(text_classifier(**config), folder), spec)


def test_a_classifier_of_texts_tells_attacks_and_names_nobody(tmp_path: Path) -> None:
    made = read(tmp_path)
    assert made.network == tmp_path / "onnx/model.onnx"
    assert (made.labels, made.attacks) == (("SAFE", "INJECTION"), (1,))
    assert made.manifest.tags == ()
    assert made.manifest.scales[0].confidence(0.0) == 0.5


def test_a_classifier_of_tokens_names_and_tells_no_attacks(tmp_path: Path) -> None:
    made = read_repository(write(token_classifier(), tmp_path), SPEC)
    assert set(made.manifest.entities.values()) == {"pii.person", "pii.organization"}
    assert made.manifest.scales == ()


@pytest.mark.parametrize(
    ("config", "own"),
    [
        ({"max_position_embeddings": 128}, 128),
        ({"max_position_embeddings": 8192}, 512),
        ({"max_position_embeddings": 514, "model_type": "roberta", "pad_token_id": 1}, 512),
        ({"max_position_embeddings": 130, "model_type": "xlm-roberta"}, 128),
    ],
    ids=["its-own", "never-over-512", "positions-behind-the-padding", "padding-by-default"],
)
def test_windows_are_as_long_as_the_model_takes(
    tmp_path: Path, config: dict[str, Any], own: int
) -> None:
    made = read(tmp_path, **config).manifest
    assert (made.window, made.overlap) == (own, own // 8)


@pytest.mark.parametrize(("told", "own"), [(64, 64), (10**30, 128)], ids=["less", "no-limit"])
def test_the_tokenizers_length_counts_where_it_is_less(tmp_path: Path, told: int, own: int) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": told}))
    assert read(tmp_path, max_position_embeddings=128).manifest.window == own


def test_a_shorter_window_can_be_asked_for_and_a_longer_one_not(tmp_path: Path) -> None:
    assert read(tmp_path, HubSpec(id="a/b", window=16)).manifest.window == 16
    with pytest.raises(BadModel, match=r"takes 32 tokens, and .* window is 64; write 32 or less"):
        read(tmp_path, HubSpec(id="a/b", window=64))


def test_a_model_without_a_length_is_asked_for_it(tmp_path: Path) -> None:
    with pytest.raises(BadModel, match=r"has no max_position_embeddings; say .* window"):
        read(tmp_path, max_position_embeddings=None)
    spec = HubSpec(id="a/b", window=64)
    assert read(tmp_path, spec, max_position_embeddings=None).manifest.window == 64


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"architectures": ["BertModel"]}, "architectures is BertModel, expected one that ends"),
        ({"architectures": None}, "architectures is not there"),
        ({"id2label": {"0": "SAFE", "2": "INJECTION"}}, "does not number labels from 0"),
        ({"id2label": {}}, "does not number labels from 0"),
        ({"id2label": ["SAFE"]}, "does not number labels from 0"),
        ({"id2label": {"0": "A", "1": "B"}}, r"labels A, B mean is not known.*id: owner/name"),
        ({"id2label": {str(n): "A" for n in range(2000)}}, "at most 1024"),
    ],
    ids=["encoder", "nothing", "gap", "empty", "list", "unknown", "many"],
)
def test_a_config_that_cannot_be_used_is_named(
    tmp_path: Path, config: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadModel, match=rf"config\.json: .*{said}"):
        read(tmp_path, **config)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000], ids=["", "cut", "list", "bytes", "deep"]
)
def test_a_config_that_is_no_object_is_named(tmp_path: Path, content: bytes) -> None:
    write({**text_classifier(), "config.json": content}, tmp_path)
    with pytest.raises(BadModel, match=r"config\.json: "):
        read_repository(tmp_path, SPEC)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "onnx/model.onnx"])
def test_a_file_that_is_missing_is_named(tmp_path: Path, name: str) -> None:
    write(text_classifier(), tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(BadModel, match=name.rpartition("/")[2]):
        read_repository(tmp_path, SPEC)


def test_the_file_that_is_asked_for_is_taken_and_no_other(tmp_path: Path) -> None:
    write(text_classifier(network="onnx/model_O4.onnx"), tmp_path)
    with pytest.raises(BadModel, match=r"looked for model\.onnx, onnx/model\.onnx, onnx/model_qu"):
        read_repository(tmp_path, SPEC)
    made = read_repository(tmp_path, HubSpec(id="a/b", file="onnx/model_O4.onnx"))
    assert made.network.name == "model_O4.onnx"


def test_how_it_is_read_is_part_of_the_seal(tmp_path: Path) -> None:
    seals = {
        read(tmp_path, spec).manifest.seal
        for spec in (SPEC, HubSpec(id="owner/name", window=16), HubSpec(id="a/b", threshold=0.9))
    }
    assert len(seals) == 3


def test_a_threshold_of_its_own_replaces_the_operating_points(tmp_path: Path) -> None:
    made = read(tmp_path, HubSpec(id="a/b", threshold=0.95)).manifest
    assert set(made.points.values()) == {0.95}


@pytest.mark.parametrize("logit", [-math.inf, -1e9, -5.0, 0.0, 5.0, 1e9])
def test_any_logit_has_a_confidence(logit: float) -> None:
    assert 0.0 <= Logistic().confidence(logit) <= 1.0
