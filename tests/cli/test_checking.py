from pathlib import Path
from typing import Any

import pytest

from llmtrace.cli.checking import faults, require_usable
from llmtrace.config import Config
from llmtrace.testing.tls import ThrowawayCa


def found(**values: Any) -> str:
    return "\n".join(faults(Config.model_validate(values)))


def test_the_defaults_are_good() -> None:
    assert faults(Config()) == []


@pytest.mark.parametrize("hosts", [{"https://llm.example": "openai"}, {"a b": "openai"}])
def test_a_host_that_is_none_is_named(hosts: dict[str, str]) -> None:
    said = found(intercept={"hosts": hosts})
    assert said.startswith("intercept: ")
    assert next(iter(hosts)) in said


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    missing = tmp_path / "none"
    said = found(cost_estimation={"pricing_file": missing}, upstream_ca=missing).splitlines()
    assert said == [
        f"cost_estimation.pricing_file: {missing}: No such file or directory",
        f"upstream_ca: {missing}: No such file or directory",
    ]


def test_files_of_another_kind_are_named(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("[1, 2]")
    prices, roots = found(cost_estimation={"pricing_file": wrong}, upstream_ca=wrong).splitlines()
    assert "expected model names" in prices
    assert roots == f"upstream_ca: {wrong} holds no PEM certificates"


def test_good_files_are_good(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(ThrowawayCa().pem)
    (tmp_path / "p.yaml").write_text("m: {input_per_million: 1, output_per_million: 2}\n")
    assert not found(
        cost_estimation={"pricing_file": tmp_path / "p.yaml"}, upstream_ca=tmp_path / "ca.pem"
    )


def test_a_program_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    require_usable(Config())
    with pytest.raises(SystemExit) as ended:
        require_usable(Config(upstream_ca=tmp_path / "none"))
    assert ended.value.code == 2
    assert "upstream_ca" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("values", "said"),
    [
        pytest.param(
            {"policy": {"rules": [{"kinds": ["x"], "verdict": "flag"}]}},
            "policy.rules[0].kinds: 'x' is no kind of finding",
            id="policy",
        ),
        pytest.param({"pii": {"ignore": ["pii.x"]}}, "pii.ignore: 'pii.x' is no kind", id="pii"),
        pytest.param(
            {"security_analysis": {"packs": ["/nowhere.yaml"]}},
            "security_analysis.packs: /nowhere.yaml",
            id="pack",
        ),
        pytest.param(
            {"security_analysis": {"canaries": ["short"]}},
            "security_analysis.canaries: a canary",
            id="canary",
        ),
    ],
)
def test_what_detection_cannot_use_is_named(values: dict[str, Any], said: str) -> None:
    assert found(**values).startswith(said)
