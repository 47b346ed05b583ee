"""Whether pages are rendered from figures of another model than the one that is shipped."""

import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import pytest

from llmtrace.analyzers.model import SHIPPED, read_manifest

SCRIPTS = Path(__file__).parents[2] / "scripts"
SEAL = read_manifest(SHIPPED).seal
HOW = hashlib.sha256((SHIPPED / "model.json").read_bytes()).hexdigest()
KEPT: Mapping[str, Any] = json.loads((SCRIPTS.parent / "docs/models/evaluation.json").read_text())
PAGES = ("docs/models/evaluation.md", "docs/models/llmtrace-small.md")
type Docs = Callable[..., int]


@pytest.fixture
def figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that the pages are rendered from, with figures of the model that is shipped."""
    monkeypatch.setattr(sys, "path", [str(SCRIPTS), *sys.path])
    path = tmp_path / "evaluation.json"
    path.write_text(json.dumps(KEPT))
    of_model(path)
    monkeypatch.setattr(import_module("documents.measured"), "MEASURED", path)
    return path


@pytest.fixture
def docs(figures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Docs:
    """Renders the pages about the model into a folder of its own."""
    loader = SourceFileLoader("docs", str(SCRIPTS / "docs"))
    spec = spec_from_loader("docs", loader)
    assert spec is not None
    script = module_from_spec(spec)
    loader.exec_module(script)
    (tmp_path / "docs" / "models").mkdir(parents=True)
    monkeypatch.setattr(script, "ROOT", tmp_path)
    monkeypatch.setattr(script, "RENDERED", {name: script.RENDERED[name] for name in PAGES})

    def run(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["docs", *words])
        made: int = script.main()
        return made

    return run


def of_model(path: Path, seal: str = SEAL, how: str = HOW) -> None:
    said = json.loads(path.read_text())
    said["models"]["model"] |= {"seal": seal, "model_json": how}
    path.write_text(json.dumps(said))


def test_figures_of_the_shipped_model_are_rendered(docs: Docs, tmp_path: Path) -> None:
    assert docs() == 0
    assert docs("--check") == 0
    for page in PAGES:
        assert "as redacted" in (tmp_path / page).read_text()


def test_figures_of_another_model_are_not_current(
    docs: Docs, figures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    docs()
    of_model(figures, "another")
    capsys.readouterr()
    assert docs("--check") == 1
    told = capsys.readouterr().out
    assert all(page in told for page in PAGES)
    assert f"of model another, shipped is {SEAL}" in told
    assert "llmtrace models eval injection/dev_ood.jsonl" in told


def test_figures_of_other_thresholds_are_not_current(
    docs: Docs, figures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    docs()
    of_model(figures, how="other thresholds")
    assert docs("--check") == 1
    assert f"SHA-256 other thresholds, shipped is {HOW}" in capsys.readouterr().out


def test_figures_of_another_model_are_not_rendered(
    docs: Docs, figures: Path, tmp_path: Path
) -> None:
    of_model(figures, "another")
    assert docs() == 1
    assert not any((tmp_path / page).exists() for page in PAGES)


def test_figures_that_do_not_say_whose_they_are_are_refused(docs: Docs, figures: Path) -> None:
    figures.write_text(json.dumps({"dev_ood.jsonl": {}}))
    assert docs("--check") == 1


def test_other_rules_are_told_and_not_refused(docs: Docs, figures: Path, tmp_path: Path) -> None:
    said = json.loads(figures.read_text())
    said["rules"] = "0ther"
    figures.write_text(json.dumps(said))
    assert docs() == 0
    assert "rules: seal `0ther`" in (tmp_path / PAGES[0]).read_text()
