import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from llmtrace.analyzers.model import SHIPPED
from llmtrace.cli.main import llmtrace

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
