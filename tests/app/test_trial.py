import io
import json
from pathlib import Path
from typing import Any

import pytest

from llmtrace.app import trial
from llmtrace.app.detection import BadDetection
from llmtrace.app.models import Missing
from llmtrace.app.settings import Settings
from llmtrace.app.trial import try_models
from llmtrace.config import Config
from llmtrace.environment.home import Home
from llmtrace.testing.tinymodels import text_classifier, write


def settings(tmp_path: Path, model: str | None, **more: Any) -> Settings:
    config = Config.model_validate({"security_analysis": {"ml_model": model}, **more})
    return Settings(config=config, home=Home(tmp_path))


def tried(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> dict[str, Any]:
    monkeypatch.setattr("sys.stdin", io.StringIO(settings.dump() + "\n"))
    trial.main()
    return dict(json.loads(capsys.readouterr().out))


def test_models_that_load_are_not_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = settings(tmp_path, str(write(text_classifier(), tmp_path / "own")))
    assert tried(whole, monkeypatch, capsys) == {"missing": []}


def test_one_that_does_not_is_an_error_or_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    strict, lax = settings(tmp_path, "a/b"), settings(tmp_path, "a/b", on_error="allow")
    assert "a/b" in tried(strict, monkeypatch, capsys)["error"]
    (one,) = tried(lax, monkeypatch, capsys)["missing"]
    assert one["name"] == "a/b"


def test_another_process_tells_what_is_missing(tmp_path: Path) -> None:
    (one,) = try_models(settings(tmp_path, "a/b", on_error="allow"))
    assert isinstance(one, Missing)
    with pytest.raises(BadDetection, match=r"security_analysis\.ml_model: a/b: "):
        try_models(settings(tmp_path, "a/b"))


def test_nothing_is_tried_where_there_is_nothing_to_try(tmp_path: Path) -> None:
    assert try_models(settings(tmp_path, None), seconds=0.001) == ()


def test_a_trial_that_takes_too_long_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadDetection, match=r"not loaded within 0\.01 s"):
        try_models(settings(tmp_path, "a/b"), seconds=0.01)


def test_a_trial_that_dies_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(BadDetection, match=r"loading ended the process \(1\)"):
        try_models(settings(tmp_path, "a/b"))
