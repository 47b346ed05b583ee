import logging
import re
from pathlib import Path
from typing import Any

import pytest

from llmtrace.analyzers import model
from llmtrace.app.detection import BadDetection
from llmtrace.app.models import (
    Missing,
    Models,
    cache_of,
    check_models,
    fetch_missing,
    hub_of,
    load_models,
    spec_of,
    try_each,
    wanted,
    with_model,
)
from llmtrace.config import Config
from llmtrace.testing.hub import StandInHub
from llmtrace.testing.onnxfile import classifier
from llmtrace.testing.tinymodels import keep, text_classifier, token_classifier, write


def config(**sections: Any) -> Config:
    return Config.model_validate(sections)


def folder(path: Path, **sections: Any) -> Config:
    return config(security_analysis={"ml_model": str(path)}, **sections)


def test_the_shipped_model_is_wanted_unless_it_is_off() -> None:
    assert [one.name for one in wanted(config())] == ["shipped"]
    assert wanted(config(security_analysis={"ml_model": None})) == []
    assert wanted(config(security_analysis={"enabled": False})) == []


def test_models_stand_beside_the_shipped_one_and_each_is_wanted_once() -> None:
    models = [{"id": "a/b", "window": 64}, {"id": "c/d"}]
    beside = wanted(config(ml={"models": models}))
    assert [(one.key, one.name) for one in beside] == [
        ("security_analysis.ml_model", "shipped"),
        ("ml.models[0]", "a/b"),
        ("ml.models[1]", "c/d"),
    ]
    first, second = wanted(config(security_analysis={"ml_model": "a/b"}, ml={"models": models}))
    assert (first.key, first.name, second.name) == ("security_analysis.ml_model", "a/b", "c/d")
    assert first.hub is not None
    assert first.hub.window == 64


def test_a_path_is_a_folder_and_an_id_is_not() -> None:
    (path,) = wanted(config(security_analysis={"ml_model": "./models/own"}))
    assert (path.name, path.folder, path.hub) == ("own", Path("models/own"), None)
    (one,) = wanted(config(security_analysis={"ml_model": "models/own"}))
    assert (one.name, one.folder) == ("models/own", None)


def test_what_is_said_of_a_model_reaches_those_who_load_it() -> None:
    said = {
        "id": "a/b",
        "revision": "v1",
        "file": "x.onnx",
        "labels": {"A": "none"},
        "threshold": 0.8,
        "window": 64,
    }
    (_, one) = wanted(config(ml={"models": [said]}))
    assert one.hub is not None
    spec = spec_of(one.hub)
    assert {name: getattr(spec, name) for name in said} == said


def test_the_cache_is_in_the_home_folder_unless_it_is_named(tmp_path: Path) -> None:
    assert cache_of(config(), tmp_path).root == tmp_path / "models"
    assert cache_of(config(ml={"cache_dir": "/var/x"}), tmp_path).root == Path("/var/x")


def test_a_model_in_a_folder_reads_beside_the_patterns(tmp_path: Path) -> None:
    models = load_models(folder(write(text_classifier(), tmp_path)))
    assert [row["loaded"] for row in models.status()] == [True]
    assert models.missing == ()


def test_without_models_the_patterns_stay_as_they_are() -> None:
    from llmtrace.app.detection import build_analyzer

    off = config(security_analysis={"ml_model": None})
    patterns = build_analyzer(off, cached=False)
    assert with_model(patterns, off) is patterns
    assert Models().beside(patterns) is patterns


@pytest.mark.parametrize("harm", ["missing", "cut"])
def test_a_model_that_cannot_be_loaded_refuses_or_is_told(
    tmp_path: Path, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    network = write(text_classifier(), tmp_path / "own") / "onnx/model.onnx"
    content = network.read_bytes()
    network.unlink()
    if harm == "cut":
        network.write_bytes(content[:50])
    with pytest.raises(BadDetection, match=r"security_analysis\.ml_model: .*model\.onnx"):
        load_models(folder(tmp_path / "own"))
    with caplog.at_level(logging.WARNING):
        models = load_models(folder(tmp_path / "own", on_error="allow"))
    (one,) = models.missing
    assert one.name == "own"
    assert "model.onnx: " in one.reason
    assert str(tmp_path) not in one.reason
    assert "goes on without this model" in caplog.text
    assert models.status() == [{"loaded": False, "name": "own", "reason": one.reason}]


def test_whatever_loading_raises_the_model_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RecursionError("what a file said")

    monkeypatch.setattr(model, "load_folder", fails)
    settings = folder(tmp_path / "own", on_error="allow")
    with caplog.at_level(logging.WARNING):
        (one,) = load_models(settings).missing
    assert one.name == "own"
    assert re.fullmatch(
        r"its folder: cannot be loaded \(RecursionError at fails:\d+.*\); get .*", one.reason
    )
    assert "goes on without this model" in caplog.text
    with pytest.raises(BadDetection, match=r"security_analysis\.ml_model: .*own: cannot be loaded"):
        load_models(folder(tmp_path / "own"))
    monkeypatch.setattr(model, "read_folder", fails)
    with pytest.raises(BadDetection, match=r"security_analysis\.ml_model: .*own: cannot be loaded"):
        check_models(folder(tmp_path / "own"))


def test_what_is_not_fetched_is_told_without_a_path(tmp_path: Path) -> None:
    settings = config(security_analysis={"ml_model": "a/b"}, on_error="allow")
    (one,) = load_models(settings, at=tmp_path).missing
    assert one == Missing(
        name="a/b",
        reason="revision 'main' is not in the cache; run 'llmtrace models fetch a/b' where the "
        "hub can be reached",
    )


@pytest.mark.parametrize("name", ["model.json", "model.onnx", "tokenizer.json"])
def test_no_path_is_told_of_a_model_of_our_own(tmp_path: Path, name: str) -> None:
    from llmtrace.analyzers.model import SHIPPED

    for file in ("model.json", "model.onnx", "tokenizer.json"):
        if file != name:
            (tmp_path / file).symlink_to(SHIPPED / file)
    (one,) = load_models(folder(tmp_path, on_error="allow")).missing
    assert name in one.reason
    assert str(tmp_path) not in one.reason


def test_files_that_cannot_be_used_are_named_before_anything_starts(tmp_path: Path) -> None:
    own = write(text_classifier(labels=("A", "INJECTION")), tmp_path / "own")
    with pytest.raises(BadDetection, match=r"security_analysis\.ml_model: .*config\.json: "):
        check_models(folder(own))
    check_models(folder(own, on_error="allow"))
    check_models(folder(write(text_classifier(), tmp_path / "other")))


def test_what_will_be_fetched_need_not_be_there_yet(tmp_path: Path) -> None:
    models = {"models": [{"id": "a/b"}], "cache_dir": tmp_path}
    check_models(config(ml=models))
    with pytest.raises(BadDetection, match=r"ml\.models\[0\]: a/b: .*models fetch a/b"):
        check_models(config(ml={**models, "offline": True}))


def test_each_model_is_tried_and_none_is_fetched(tmp_path: Path) -> None:
    files = text_classifier()
    network = files["onnx/model.onnx"]
    keep(files, tmp_path, "a/good")
    keep({**files, "onnx/model.onnx": network[:50]}, tmp_path, "a/cut")
    keep({**files, "onnx/model.onnx": classifier([[1, 0]], opset=99)}, tmp_path, "a/new")
    changed = keep(files, tmp_path, "a/changed").home("a/changed")
    next(changed.glob("*/onnx/model.onnx")).write_bytes(network[:50])
    names = ["a/good", "a/cut", "a/new", "a/changed", "a/absent"]
    models = {"models": [{"id": name} for name in names], "cache_dir": tmp_path}
    with StandInHub() as hub:
        off = {"ml_model": None}
        settings = config(security_analysis=off, ml={**models, "endpoint": hub.url})
        tried = list(try_each(settings))
        assert hub.calls == []
    assert [(one.name, one.state) for one in tried] == [
        ("a/good", "loaded"),
        ("a/cut", "unusable"),
        ("a/new", "unusable"),
        ("a/changed", "unusable"),
        ("a/absent", "not fetched"),
    ]
    assert [one.key for one in tried] == [f"ml.models[{place}]" for place in range(5)]
    said = ["", "is damaged", "opset 99", "its SHA-256 is", "run 'llmtrace models fetch a/absent'"]
    assert [part in one.reason for part, one in zip(said, tried, strict=True)] == [True] * 5
    *_, last = try_each(config(security_analysis=off, ml={**models, "offline": True}))
    assert (last.name, last.state) == ("a/absent", "unusable")


def test_labels_that_stand_for_nothing_are_named() -> None:
    check_models(config(ml={"models": [{"id": "a/b", "labels": {"A": "none", "B": "jailbreak"}}]}))
    with pytest.raises(BadDetection, match=r"ml\.models\[0\]\.labels: 'jailbrake' is no kind"):
        check_models(config(ml={"models": [{"id": "a/b", "labels": {"B": "jailbrake"}}]}))


def test_what_is_missing_is_fetched_before_it_is_loaded(tmp_path: Path) -> None:
    with StandInHub() as hub:
        hub.add("a/names", token_classifier())
        settings = config(
            security_analysis={"ml_model": None},
            ml={"models": [{"id": "a/names"}], "endpoint": hub.url, "cache_dir": tmp_path},
        )
        fetch_missing(settings)
        assert [one.name for one in load_models(settings).loaded] == ["a/names"]
        asked = len(hub.calls)
        fetch_missing(settings)
        assert len(hub.calls) == asked


def test_offline_nothing_is_asked_for_and_what_is_there_is_used(tmp_path: Path) -> None:
    with StandInHub() as hub:
        settings = config(
            security_analysis={"ml_model": "a/b"},
            ml={"endpoint": hub.url, "cache_dir": tmp_path, "offline": True},
        )
        fetch_missing(settings)
        assert hub.calls == []
    with pytest.raises(BadDetection, match="run 'llmtrace models fetch a/b'"):
        load_models(settings)


def test_what_cannot_be_fetched_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llmtrace.analyzers.model import hubfetch

    said = {"commit": "a" * 40, "files": {"x": ""}}
    monkeypatch.setattr(hubfetch, "_ask", lambda *_args: said)
    settings = config(security_analysis={"ml_model": "a/b"}, ml={"cache_dir": tmp_path})
    fetch_missing(settings)
    assert "security_analysis.ml_model: not fetched: " in caplog.text


def test_the_hub_is_reached_through_the_upstream_proxy() -> None:
    hub = hub_of(config(upstream_proxy="http://u:p@proxy:3128", ml={"endpoint": "https://h/"}))
    assert (hub.proxy, hub.endpoint) == ("http://u:p@proxy:3128", "https://h")
    assert hub_of(config()).proxy is None
