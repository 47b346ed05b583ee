import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmtrace.analyzers.model import SHIPPED, BadModel, read_manifest
from llmtrace.analyzers.model.manifest import Scale

FILES = ("model.onnx", "tokenizer.json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The shipped model, in a folder where it can be damaged."""
    for name in FILES:
        (tmp_path / name).symlink_to(SHIPPED / name)
    (tmp_path / "model.json").write_bytes((SHIPPED / "model.json").read_bytes())
    return tmp_path


def say(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    said = json.loads((folder / "model.json").read_text())
    change(said)
    (folder / "model.json").write_text(json.dumps(said))


def replaced(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def test_the_shipped_model_is_what_its_manifest_says() -> None:
    manifest = read_manifest(SHIPPED)
    assert manifest.tags[0] == "O"
    assert set(manifest.points) == {"high_recall", "balanced", "high_precision"}
    assert (SHIPPED / "model.onnx").stat().st_size <= 30 << 20


@pytest.mark.parametrize("name", ["model.json", *FILES])
def test_a_file_that_is_missing_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(BadModel, match=name):
        read_manifest(folder)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("keep", [0, 1000])
def test_a_file_that_was_cut_is_named(folder: Path, name: str, keep: int) -> None:
    replaced(folder / name, (SHIPPED / name).read_bytes()[:keep])
    with pytest.raises(BadModel, match=rf"{name}: its SHA-256 is .* get the model's files again"):
        read_manifest(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda s: s.update(format=2), "format is 2, expected 1", id="other-format"),
        pytest.param(lambda s: s.pop("tags"), "KeyError: 'tags'", id="no-tags"),
        pytest.param(lambda s: s.update(tags=["B-PERSON"]), "do not agree", id="other-tags"),
        pytest.param(lambda s: s["entities"].pop("ORG"), "do not agree: ORG", id="no-kind"),
        pytest.param(lambda s: s["points"].pop("balanced"), "balanced", id="no-point"),
        pytest.param(lambda s: s.update(scales=[]), "make no sense", id="no-scale"),
        pytest.param(lambda s: s.update(overlap=300), "make no sense", id="overlap"),
        pytest.param(lambda s: s.update(window="wide"), "ValueError", id="window"),
        pytest.param(
            lambda s: s["scales"][0].update(points=[[0, 0.1]]), "two or more", id="one-point"
        ),
        pytest.param(
            lambda s: s["scales"][0].update(points=[[1, 0.1], [0, 0.2]]), "rising", id="falling"
        ),
        pytest.param(
            lambda s: s["scales"][0].update(points=[[0, 0.3], [1, 0.2]]),
            "must rise",
            id="less-sure",
        ),
        pytest.param(
            lambda s: s["scales"][0].update(points=[[0, 0.3], [1, 1.2]]), "must rise", id="over-1"
        ),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(
    folder: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    say(folder, change)
    with pytest.raises(BadModel, match=message):
        read_manifest(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_a_manifest_that_is_no_object_is_refused(folder: Path, content: bytes) -> None:
    (folder / "model.json").write_bytes(content)
    with pytest.raises(BadModel, match=r"model\.json"):
        read_manifest(folder)


def test_confidence_follows_the_points_and_never_leaves_them() -> None:
    scale = Scale(64, (0.0, 1.0, 3.0), (0.2, 0.5, 0.9))
    assert [scale.confidence(x) for x in (0.0, 0.5, 1.0, 2.0, 3.0, 99.0)] == pytest.approx(
        [0.2, 0.35, 0.5, 0.7, 0.9, 0.9]
    )
    assert 0 < scale.confidence(-50.0) < scale.confidence(-1.0) < 0.2
