import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmtrace.analyzers.kinds import kinds
from llmtrace.cli import sarif
from llmtrace.cli.sarif import Report
from llmtrace.cli.scanning import Result
from llmtrace.cli.scantexts import Document, Piece, Unreadable
from llmtrace.domain.findings import Finding, Severity, Verdict
from llmtrace.domain.parts import Origin, Role
from llmtrace.storage.codec import to_json

FINDING = Finding(
    kind="prompt_injection",
    severity=Severity.CRITICAL,
    confidence=0.876,
    location="",
    start=4,
    end=10,
    detector="injection.override",
    verdict=Verdict.BLOCK,
    rule="balanced.1",
)


def result(*findings: Finding, source: str = "a b/é.md", line: int = 0) -> Result:
    piece = Piece(text="one\nsesame\n", role=Role.USER, origin=Origin.TRUSTED)
    return Result(document=Document(source=source, line=line, pieces=(piece,)), findings=findings)


def log(report: Report) -> dict[str, Any]:
    document = json.loads(to_json(report.document()))
    assert document["version"] == "2.1.0"
    (run,) = document["runs"]
    assert run["columnKind"] == "unicodeCodePoints"
    found: dict[str, Any] = run
    return found


def test_a_finding_is_a_result_at_its_place() -> None:
    report = Report()
    report.add(result(FINDING))
    (one,) = log(report)["results"]
    assert (one["ruleId"], one["level"], one["rank"]) == ("prompt_injection", "error", 87.6)
    assert one["locations"] == [
        {
            "physicalLocation": {
                "artifactLocation": {"uri": "a%20b/%C3%A9.md"},
                "region": {"startLine": 2, "startColumn": 1, "endLine": 2, "endColumn": 7},
            }
        }
    ]
    assert one["message"] == {"text": "Instruction override: the policy would block it"}


@pytest.mark.parametrize(
    ("source", "uri"),
    [
        pytest.param("a b/é.md", "a%20b/%C3%A9.md", id="relative"),
        pytest.param("./a.md", "a.md", id="dotted"),
        pytest.param(str(Path.cwd() / "a.md"), "a.md", id="here"),
        pytest.param("/nowhere/a b.md", "file:///nowhere/a%20b.md", id="elsewhere"),
        pytest.param("\udcff.md", "%FF.md", id="no-utf-8"),
        pytest.param("-", "stdin", id="standard-input"),
    ],
)
def test_a_file_is_named_as_code_hosts_know_it(source: str, uri: str) -> None:
    report = Report()
    report.add(result(FINDING, source=source))
    (one,) = log(report)["results"]
    assert one["locations"][0]["physicalLocation"]["artifactLocation"] == {"uri": uri}


def test_what_was_found_is_not_in_the_report() -> None:
    report = Report()
    report.add(result(FINDING))
    assert "sesame" not in json.dumps(log(report))


def test_a_row_is_a_line_and_a_transcript_has_its_place() -> None:
    report = Report()
    report.add(result(replace(FINDING, location="messages[0].content"), source="-", line=7))
    (location,) = log(report)["results"][0]["locations"]
    assert location["physicalLocation"]["artifactLocation"]["uri"] == "stdin"
    assert location["physicalLocation"]["region"] == {"startLine": 7}
    assert location["logicalLocations"] == [{"fullyQualifiedName": "messages[0].content"}]


def test_each_rule_that_is_used_is_described_once() -> None:
    report = Report()
    report.add(result(FINDING, FINDING, replace(FINDING, kind="pii.email")))
    report.add(result(replace(FINDING, kind="of_another_version")))
    driver = log(report)["tool"]["driver"]
    rules = {rule["id"]: rule for rule in driver["rules"]}
    assert list(rules) == ["of_another_version", "pii.email", "prompt_injection"]
    assert rules["prompt_injection"]["properties"]["tags"] == ["security", "LLM01:2025"]
    assert rules["prompt_injection"]["properties"]["security-severity"] == "8.0"
    assert rules["pii.email"]["shortDescription"] == {"text": kinds()["pii.email"].title}


def test_what_could_not_be_read_makes_the_run_incomplete() -> None:
    report = Report()
    report.add_unreadable(Unreadable(source="x.jsonl", line=3, reason="not JSON"))
    (invocation,) = log(report)["invocations"]
    assert invocation["executionSuccessful"] is False
    (note,) = invocation["toolExecutionNotifications"]
    assert note["message"] == {"text": "not JSON"}
    assert note["locations"][0]["physicalLocation"]["region"] == {"startLine": 3}


def test_a_report_is_bounded_and_says_what_it_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sarif, "MAX_RESULTS", 3)
    report = Report()
    for _ in range(4):
        report.add(result(FINDING, FINDING))
    run = log(report)
    assert len(run["results"]) == 3
    assert "5 more findings" in json.dumps(run["invocations"])
