"""Whether a model that got worse is recorded as if it were good."""

import hashlib
import json
import sys
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llmtrace.analyzers.model import manifest

SCRIPT = Path(__file__).parents[2] / "scripts" / "train" / "record"
GOOD = [(0.9, True), (0.8, True), (0.2, False), (0.1, False)]
WORSE = [(0.9, True), (0.15, True), (0.2, False), (0.1, False)]
OTHER = [(0.7, True), (0.6, True), (0.2, False), (0.1, False)]
PINNED = f'SHIPPED: Final = "a"\nSHIPPED_SEAL: Final = "{"0" * 64}"\n'
type Record = Callable[..., int]


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Record:
    """Records in a folder of its own what a model is made to say."""
    loader = SourceFileLoader("record", str(SCRIPT))
    spec = spec_from_loader("record", loader)
    assert spec is not None
    monkeypatch.setattr(sys, "path", [*sys.path])  # the script adds a folder
    script = module_from_spec(spec)
    loader.exec_module(script)
    monkeypatch.setattr(script, "FOLDER", tmp_path)
    monkeypatch.setattr(script, "SHIPPED", tmp_path)
    (tmp_path / "model.json").write_bytes(b"{}")
    monkeypatch.setattr(script, "SOURCE", tmp_path / "manifest.py")
    (tmp_path / "manifest.py").write_text(PINNED)
    monkeypatch.setattr(manifest, "SHIPPED_SEAL", manifest.SHIPPED_SEAL)  # the script sets it
    monkeypatch.setattr(script, "read_manifest", lambda _: SimpleNamespace(seal="a seal"))

    def run(said: list[tuple[float, bool]], *words: str) -> int:
        monkeypatch.setattr(script, "said", lambda: said)
        made: int = script.main([*words])
        return made

    return run


def kept(folder: Path) -> Any:
    return json.loads((folder / "known.json").read_text())["sure"]


def test_the_first_record_is_compared_with_nothing(record: Record, tmp_path: Path) -> None:
    assert record(WORSE) == 0
    assert kept(tmp_path) == [0.9, 0.15, 0.2, 0.1]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        pytest.param(WORSE, "AUC was 1.0 and is 0.75", id="a-lower-auc"),
        pytest.param(OTHER, "confidence moved by 0.1000", id="other-confidence"),
        pytest.param(GOOD[:3], "there were 4 known texts and are 3", id="other-texts"),
    ],
)
def test_what_is_worse_or_other_is_refused_until_it_is_accepted(
    record: Record,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    said: list[tuple[float, bool]],
    told: str,
) -> None:
    record(GOOD)
    assert record(said) == 1
    assert kept(tmp_path) == [sure for sure, _ in GOOD]
    assert told in capsys.readouterr().err
    assert record(said, "--accept") == 0
    assert kept(tmp_path) == [sure for sure, _ in said]


def test_the_model_that_is_recorded_is_the_one_that_is_loaded_from_then_on(
    record: Record, tmp_path: Path
) -> None:
    pinned = tmp_path / "manifest.py"
    record(GOOD)
    seal = hashlib.sha256(b"{}").hexdigest()
    assert pinned.read_text() == PINNED.replace("0" * 64, seal)
    (tmp_path / "model.json").write_bytes(b"[]")
    assert record(WORSE) == 1
    assert seal in pinned.read_text()


def test_the_script_finds_what_is_pinned() -> None:
    source = SCRIPT.parents[2] / "analyzers" / "model" / "manifest.py"
    lines = source.read_text().splitlines()
    assert f'SHIPPED_SEAL: Final = "{manifest.SHIPPED_SEAL}"' in lines


def test_what_another_processor_rounds_otherwise_is_recorded(
    record: Record, tmp_path: Path
) -> None:
    record(GOOD)
    assert record([(sure + 0.04, attack) for sure, attack in GOOD]) == 0
    assert kept(tmp_path)[0] == 0.94
