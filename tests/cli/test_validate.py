import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from llmtrace.analyzers import model
from llmtrace.testing.tinymodels import text_classifier, write

type Run = Callable[..., Result]

ML_MODEL = "LLMTRACE_SECURITY_ANALYSIS_ML_MODEL"


@pytest.fixture(autouse=True)
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is about models loads any: the shipped one takes 0.3 s."""
    monkeypatch.setenv(ML_MODEL, "null")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder with a model."""
    return write(text_classifier(), tmp_path / "own")


def test_a_good_file_is_summed_up(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "llmtrace.yaml"
    path.write_text("reverse:\n  listen: null\nstorage:\n  retention_days: 0\n")
    done = run("validate", "--config", path)
    assert done.exit_code == 0
    assert done.stdout.startswith(f"{path} is valid")
    assert "base-URL mode  off" in done.stdout
    assert "lite, for ever" in done.stdout


def test_what_callers_are_held_to_is_told_and_what_holds_nobody_is_warned_of(
    tmp_path: Path, run: Run
) -> None:
    path = tmp_path / "llmtrace.yaml"
    path.write_text("cost_caps:\n  default_budget_caps: [{window: daily, hard_limit_usd: 20}]\n")
    done = run("validate", "--config", path)
    assert done.exit_code == 0
    assert "  budgets        off (cost_caps.enabled: false)\n" in done.stdout
    assert done.stderr == (
        "Warning: cost_caps: written, but cost_caps.enabled is false: nobody is held to it\n"
    )
    told = run("validate", "--json", "--config", path)
    assert told.stderr == done.stderr
    enabled = run("validate", "--config", path, LLMTRACE_COST_CAPS_ENABLED="true")
    assert "  budgets        1 cap (daily); mode strict\n" in enabled.stdout
    assert enabled.stderr == ""


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


def test_the_table_that_decides_is_shown(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "llmtrace.yaml"
    path.write_text(
        "mode: enforce\npii: {action: redact_silent}\npolicy:\n  preset: strict\n  rules:\n"
        "    - {kinds: [pii.email], tenants: [a, b], roles: [user], verdict: allow}\n"
    )
    done = run("validate", "--config", path)
    assert done.exit_code == 0
    assert "acted on as below (mode: enforce, preset strict)" in done.stdout
    rows = [line.split() for line in done.stdout.splitlines()]
    start = rows.index(["rule", "kinds", "at", "least", "where", "verdict"])
    assert rows[start + 1] == [
        "policy.rules[0]", "pii.email", "info", "user,", "tenant", "a|b", "allow",
    ]  # fmt: skip
    assert rows[start + 2] == ["pii.action", "pii.*", "low", "anywhere", "redact"]
    assert rows[-1] == ["strict.rest", "*", "low", "anywhere", "flag"]


def test_the_table_is_in_the_json(run: Run) -> None:
    done = run("validate", "--json", LLMTRACE_POLICY_PRESET="observe")
    table = json.loads(done.stdout)["policy_table"]
    assert [row["name"] for row in table["rows"]] == ["observe.rest"]
    assert table["rows"][0]["verdict"] == "flag"
    assert len(table["version"]) == 16


def test_a_pack_whose_example_does_not_hold_is_exit_code_2(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "family: mine\nversion: 1\nrules:\n  - {id: a, kind: pii.email, confidence: 0.9, "
        "pattern: zebra, examples: {match: [zebra, dog]}}\n"
    )
    done = run("validate", LLMTRACE_SECURITY_ANALYSIS_PACKS=f"[{path}]")
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"{path}: rule 'a': examples.match[1] is not matched" in done.stderr


def test_a_policy_about_an_unknown_kind_is_exit_code_2(run: Run) -> None:
    done = run("validate", LLMTRACE_POLICY_RULES="[{kinds: [secret.tokne], verdict: block}]")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == (
        "policy.rules[0].kinds: 'secret.tokne' is no kind of finding; "
        "did you mean 'secret.token'?\n"
    )


def test_what_is_found_out_after_reading_has_a_line_too(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "llmtrace.yaml"
    path.write_text("policy:\n  rules:\n    - {kinds: [secret.tokne], verdict: block}\n")
    done = run("validate", "--config", path)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"{path}:3: policy.rules[0].kinds: 'secret.tokne' is no kind")


def test_a_row_about_an_unknown_provider_is_told_with_its_line(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "llmtrace.yaml"
    path.write_text(
        "policy:\n  rules:\n    - kinds: ['*']\n      providers: [opnai]\n      verdict: block\n"
    )
    done = run("validate", "--config", path)
    assert (done.exit_code, done.stdout) == (2, "")
    said = f"{path}:4: policy.rules[0].providers: 'opnai' is no provider; did you mean 'openai'?"
    assert done.stderr.startswith(said)


def test_no_table_where_nothing_is_looked_for(run: Run) -> None:
    done = run("validate", LLMTRACE_SECURITY_ANALYSIS_ENABLED="false")
    assert "not looked for" in done.stdout
    assert "balanced.rest" not in done.stdout


def test_the_shipped_model_is_loaded(run: Run) -> None:
    done = run("validate", **{ML_MODEL: "shipped"})
    assert (done.exit_code, done.stderr) == (0, "")
    assert "  models         shipped loads\n" in done.stdout


@pytest.mark.parametrize("on_error", ["block", "allow"])
def test_a_shipped_model_with_a_byte_more_is_told(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_error: str
) -> None:
    shutil.copytree(model.SHIPPED, tmp_path / "shipped")
    with (tmp_path / "shipped/model.onnx").open("ab") as file:
        file.write(b"x")
    monkeypatch.setattr(model, "SHIPPED", tmp_path / "shipped")
    done = run("validate", LLMTRACE_ON_ERROR=on_error, **{ML_MODEL: "shipped"})
    assert done.exit_code == {"block": 2, "allow": 0}[on_error]
    assert f"security_analysis.ml_model: {tmp_path}" not in done.stdout
    assert f"{tmp_path}/shipped/model.onnx: its SHA-256 is" in done.stderr
    assert ("is valid" in done.stdout) == (on_error == "allow")


def test_a_model_that_does_not_load_is_exit_code_2_with_key_and_file(run: Run, own: Path) -> None:
    (own / "onnx/model.onnx").write_bytes(b"no network")
    done = run("validate", **{ML_MODEL: str(own)})
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(
        f"security_analysis.ml_model: {own}/onnx/model.onnx: cannot be loaded"
    )


def test_a_model_that_may_be_missing_is_warned_of(run: Run, own: Path) -> None:
    (own / "onnx/model.onnx").write_bytes(b"no network")
    allow = {ML_MODEL: str(own), "LLMTRACE_ON_ERROR": "allow"}
    done = run("validate", **allow)
    assert done.exit_code == 0
    assert done.stderr.startswith(
        "Warning: security_analysis.ml_model: the gateway goes on without this model: "
        f"{own}/onnx/model.onnx: cannot be loaded"
    )
    assert "  models         own cannot be used: the gateway goes on without it\n" in done.stdout
    told = run("validate", "--json", **allow)
    assert told.stderr == done.stderr
    (row,) = json.loads(told.stdout)["models"]
    assert (row["key"], row["name"], row["state"]) == (
        "security_analysis.ml_model",
        "own",
        "unusable",
    )
    assert "is damaged or no ONNX file" in row["reason"]


def test_a_model_that_a_start_fetches_is_no_fault(run: Run) -> None:
    done = run("validate", **{ML_MODEL: "a/b"})
    assert (done.exit_code, done.stderr) == (0, "")
    assert "a/b is not fetched yet: the gateway fetches it when it starts\n" in done.stdout
