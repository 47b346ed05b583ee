import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

type Run = Callable[..., Result]


def test_a_good_file_is_summed_up(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "llmtrace.yaml"
    path.write_text("reverse:\n  listen: null\nstorage:\n  retention_days: 0\n")
    done = run("validate", "--config", path)
    assert done.exit_code == 0
    assert done.stdout.startswith(f"{path} is valid")
    assert "base-URL mode  off" in done.stdout
    assert "lite, for ever" in done.stdout


def test_a_bad_file_is_exit_code_2_with_line_and_key(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "llmtrace.yaml"
    path.write_text("workers: 1\nstorag: {}\n")
    done = run("validate", "--config", path)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == (f"{path}:2: storag is no configuration key. Did you mean storage?\n")


def test_a_file_that_it_names_is_tried(tmp_path: Path, run: Run) -> None:
    done = run("validate", LLMTRACE_UPSTREAM_CA=str(tmp_path / "none.pem"))
    assert done.exit_code == 2
    assert "upstream_ca" in done.stderr


def test_the_file_may_be_named_by_a_variable(tmp_path: Path, run: Run) -> None:
    done = run("validate", LLMTRACE_CONFIG=str(tmp_path / "none.yaml"))
    assert done.exit_code == 2
    assert "none.yaml: cannot be read" in done.stderr


def test_the_configuration_as_json_has_no_secret(run: Run) -> None:
    done = run("validate", "--json", LLMTRACE_UPSTREAM_PROXY="http://u:hunter2@proxy:1")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["upstream_proxy"] == "**********"
    assert "hunter2" not in done.output
