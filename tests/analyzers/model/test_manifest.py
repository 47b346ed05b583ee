import json
import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.analyzers.model import SHIPPED, BadModel, read_manifest
from llmtrace.analyzers.model import manifest as module
from llmtrace.analyzers.model.manifest import MAX_CONFIG_BYTES, Scale

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
        pytest.param(lambda s: s.pop("tags"), "tags: is not there", id="no-tags"),
        pytest.param(lambda s: s.update(tags=["B-PERSON"]), "tags: .* O as the", id="other-tags"),
        pytest.param(lambda s: s["entities"].pop("ORG"), "do not agree: ORG", id="no-kind"),
        pytest.param(lambda s: s["points"].pop("balanced"), "balanced", id="no-point"),
        pytest.param(lambda s: s.update(scales=[]), "scales: .* one or more", id="no-scale"),
        pytest.param(lambda s: s.update(overlap=300), "overlap: .* 0 to 253", id="overlap"),
        pytest.param(lambda s: s.update(window="wide"), "window: expected a whole", id="window"),
        pytest.param(lambda s: s.update(window=1e999), "window: .* found inf", id="endless"),
        pytest.param(lambda s: s.update(window=100_000), "window: .* 3 to 512", id="wide"),
        pytest.param(lambda s: s.update(begin=-1), "begin: expected 0 to", id="begin"),
        pytest.param(lambda s: s.update(entities=["a"]), "entities: .* an object", id="no-map"),
        pytest.param(lambda s: s.update(name=None), "name: .* a text, found null", id="no-name"),
        pytest.param(
            lambda s: s["points"].update(balanced=math.nan), "points: balanced: .* finite", id="nan"
        ),
        pytest.param(lambda s: s["points"].update(balanced=2), "balanced: .* found 2", id="never"),
        pytest.param(
            lambda s: s["points"].update(balanced=0.95), "points: expected high_recall", id="order"
        ),
        pytest.param(
            lambda s: s.update(entity_confidence=1.1),
            "entity_confidence: .* found 1.1",
            id="nobody",
        ),
        pytest.param(
            lambda s: s["entities"].update(PERSON="pii.nonsense"),
            "entities: PERSON: 'pii.nonsense' is no kind of finding",
            id="no-such-kind",
        ),
        pytest.param(
            lambda s: s["scales"].append(s["scales"][0]), "scales: .* rising tokens", id="lengths"
        ),
        pytest.param(
            lambda s: s["scales"][0].update(points=[[-math.inf, 0.1], [0, 0.2]]),
            "scales: points: expected a finite",
            id="endless-logit",
        ),
        pytest.param(
            lambda s: s["scales"][0].update(points=[[0, 0.1], 1]),
            "scales: points: expected a list, found 1",
            id="no-pair",
        ),
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
            lambda s: s["scales"][0].update(points=[[0, 0.3], [1, 1.2]]),
            "points: .* less than 1, found 1.2",
            id="over-1",
        ),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(
    folder: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    say(folder, change)
    with pytest.raises(BadModel, match=message):
        read_manifest(folder)


SAID = json.loads((SHIPPED / "model.json").read_text())
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(SAID)), ANYTHING)
def test_whatever_a_member_is_it_can_be_used_or_is_refused(name: str, value: Any) -> None:
    said = {**SAID, name: value}
    with pytest.MonkeyPatch.context() as patched, suppress(BadModel):
        patched.setattr(module, "_read", lambda _: said)
        patched.setattr(module, "_check", lambda *_: "seal")
        made = read_manifest(SHIPPED)
        assert 0 <= made.confidence(0.0, 9) <= 1
        assert made.room > made.overlap


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda s: s["points"].update(balanced=0.8), id="point"),
        pytest.param(lambda s: s["entities"].update(ORG="pii.location"), id="kind"),
        pytest.param(lambda s: s.update(files={}), id="seals"),
    ],
)
def test_the_shipped_model_is_as_it_was_released_or_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[dict[str, Any]], object]
) -> None:
    monkeypatch.setattr(module, "SHIPPED", folder)
    read_manifest(folder)
    say(folder, change)
    with pytest.raises(BadModel, match=r"model\.json: its SHA-256 is .* install the package again"):
        read_manifest(folder / ".." / folder.name)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff", b"[" * 200_000, b" " * (MAX_CONFIG_BYTES + 1)]
)
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
