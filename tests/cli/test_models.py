import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from llmtrace.analyzers.model import SHIPPED, ModelAnalyzer
from llmtrace.cli.main import llmtrace
from llmtrace.testing.hub import StandInHub
from llmtrace.testing.tinymodels import text_classifier, write

type Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    config = tmp_path / "llmtrace.yaml"
    config.write_text("security_analysis: {ml_model: shipped}\n")

    def invoke(*words: str) -> Result:
        return CliRunner().invoke(llmtrace, [*words, "--config", str(config)])

    return invoke


def test_the_shipped_model_is_listed_as_used(run: Run) -> None:
    (row,) = json.loads(run("models", "list", "--json").output)
    assert (row["name"], row["used"], row["folder"]) == ("llmtrace-small", True, str(SHIPPED))
    assert row["size_mb"] <= 30


def test_what_is_listed_is_not_said_to_load(tmp_path: Path) -> None:
    own = write(text_classifier(), tmp_path / "own")
    (own / "onnx/model.onnx").write_bytes(b"no network")
    config = tmp_path / "c.yaml"
    config.write_text(f"security_analysis: {{ml_model: {own}}}\n")
    words = ["--config", str(config)]
    done = CliRunner().invoke(llmtrace, ["models", "list", "--json", *words])
    assert [row["state"] for row in json.loads(done.output)] == ["as sealed", "no seal"]
    verified = CliRunner().invoke(llmtrace, ["models", "verify", *words])
    assert verified.exit_code == 1
    assert "it is damaged or no ONNX file (10 bytes); get the file again" in verified.output


def test_a_whole_model_is_verified(run: Run) -> None:
    done = run("models", "verify")
    assert done.exit_code == 0
    assert "whole" in done.output


def test_a_folder_without_a_model_is_told_with_what_is_missing(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(f"security_analysis: {{ml_model: {tmp_path}}}\n")
    for command in ("list", "verify"):
        done = CliRunner().invoke(llmtrace, ["models", command, "--config", str(config)])
        assert done.exit_code == 1
        assert "model.json" in done.output


def test_a_model_that_cannot_read_a_sentence_is_told(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr(ModelAnalyzer, "inspect", fails)
    done = run("models", "verify")
    assert done.exit_code == 1
    assert f"Error: {SHIPPED}: cannot read a sentence (KeyError)" in done.output


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StandInHub]:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("LLMTRACE_HOME", str(tmp_path / "home"))
    with StandInHub() as running:
        running.add("a/texts", text_classifier())
        monkeypatch.setenv("LLMTRACE_ML_ENDPOINT", running.url)
        yield running


def test_a_model_is_fetched_listed_and_verified(hub: StandInHub, run: Run, tmp_path: Path) -> None:
    done = run("models", "fetch", "a/texts")
    assert done.exit_code == 0, done.output
    commit = hub.repos["a/texts"].commit
    assert f"a/texts {commit} in {tmp_path / 'home' / 'models'}" in done.output
    _, row = json.loads(run("models", "list", "--json").output)
    assert (row["name"], row["version"], row["used"], row["state"]) == (
        "a/texts",
        commit,
        False,
        "as sealed",
    )
    assert run("models", "verify", "a/texts", "shipped").output.count("whole; reads") == 2
    (tmp_path / "home/models/a--texts" / commit / "config.json").write_text("{}")
    bad = run("models", "verify", "a/texts")
    assert bad.exit_code == 1
    assert "config.json: its SHA-256 is" in bad.output
    table, why = run("models", "list").output.rsplit("a/texts: ", 1)
    assert table.splitlines()[-1].split() == ["a/texts", "False", "unusable"]
    assert "config.json: its SHA-256 is" in why


def test_a_fetched_model_whose_labels_say_nothing_is_told_at_once(
    hub: StandInHub, run: Run
) -> None:
    hub.add("a/texts", text_classifier({"ignore": "B"}, labels=("A", "B")))
    done = run("models", "fetch", "a/texts")
    assert done.exit_code == 1
    assert "it was fetched, and cannot be used yet" in done.output
    assert "labels A, B mean is not known" in done.output


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["fetch", "nothing"], 2, "'nothing' is no id of a hub; write owner/name"),
        (["fetch", "a/b", "--revision", "v9"], 1, "a/b: is not at"),
        (["fetch", "a/texts", "--file", "../x.onnx"], 2, "--file: '../x.onnx' cannot be one"),
        (["fetch", "a/texts", "--revision", "-x"], 2, "--revision: '-x' cannot be one"),
        (["verify", "../etc"], 2, "is no id of a hub"),
        (["verify", "a/b"], 1, "run 'llmtrace models fetch a/b'"),
    ],
    ids=["no-id", "nowhere", "file-outside", "option", "path", "not-fetched"],
)
def test_what_cannot_be_fetched_or_verified_is_told(
    hub: StandInHub, run: Run, words: list[str], code: int, said: str
) -> None:
    done = run("models", *words)
    assert (done.exit_code, said in done.output) == (code, True), done.output


def test_offline_nothing_is_fetched(
    hub: StandInHub, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMTRACE_ML_OFFLINE", "true")
    assert "nothing is fetched" in run("models", "fetch", "a/texts").output
    assert hub.calls == []


def test_a_gateway_that_runs_says_how_long_texts_take(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"name": "llmtrace-small", "texts": 7, "p99_ms": 30, "load_ms": 250.5}
    monkeypatch.setattr("llmtrace.cli.models.health", lambda _listen: {"models": [row]})
    lines = run("models", "list").output.splitlines()
    assert lines[0].split()[-2:] == ["p99_ms", "load_ms"]
    assert lines[1].split()[-2:] == ["30", "250.5"]
    (told,) = json.loads(run("models", "list", "--json").output)
    assert told["running"] == row
