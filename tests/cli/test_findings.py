import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from click.testing import Result

from llmtrace.domain.findings import Finding, Severity, Verdict
from llmtrace.testing.records import NOON, a_finding, a_record, numbered_id

type Keep = Callable[..., None]
type Run = Callable[..., Result]

DESIGNED = ("trace_id", "kind", "severity", "confidence", "location", "verdict", "rule")
HOSTILE = "a\0b\x1b[2J\u202ec"


def a(kind: str, **changes: Any) -> Finding:
    return replace(a_finding(kind), **changes)


@pytest.fixture
def kept(keep: Keep) -> None:
    keep(
        a_record(1, findings=(a("pii.email", severity=Severity.LOW), a("pii.ssn"))),
        a_record(
            2,
            agent="other",
            started_at=NOON + timedelta(hours=1),
            verdict=Verdict.BLOCK,
            findings=(
                a(
                    "prompt_injection",
                    severity=Severity.CRITICAL,
                    verdict=Verdict.BLOCK,
                    rule="balanced.injection",
                ),
            ),
        ),
        a_record(3),
    )


def kinds(done: Result) -> list[str]:
    assert done.exit_code == 0, done.stderr
    return [row["kind"] for row in json.loads(done.stdout)]


@pytest.mark.usefixtures("kept")
def test_findings_are_listed_newest_first(run: Run) -> None:
    done = run("findings", "list")
    assert done.exit_code == 0
    assert [line.split()[-1] for line in done.stdout.splitlines()[1:]] == [
        numbered_id(2),
        numbered_id(1),
        numbered_id(1),
    ]
    assert "explained: " in done.stderr


@pytest.mark.usefixtures("kept")
def test_rows_of_json_have_the_names_that_scripts_rely_on(run: Run) -> None:
    row, *_ = json.loads(run("findings", "list", "--json").stdout)
    assert set(DESIGNED) <= set(row)
    assert (row["verdict"], row["rule"]) == ("block", "balanced.injection")
    assert (row["start"], row["end"]) == (3, 9)


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param(["--kind", "pii.*"], ["pii.email", "pii.ssn"], id="kind"),
        pytest.param(["--severity", "HIGH"], ["prompt_injection", "pii.ssn"], id="severity"),
        pytest.param(["--verdict", "block"], ["prompt_injection"], id="verdict"),
        pytest.param(["--trace", numbered_id(1)], ["pii.email", "pii.ssn"], id="trace"),
        pytest.param(["--agent", "other"], ["prompt_injection"], id="agent"),
        pytest.param(["--tenant", "nobody"], [], id="tenant"),
        pytest.param(["--since", "2026-03-04T12:30:00Z"], ["prompt_injection"], id="since"),
        pytest.param(["--until", "2026-03-04T12:30:00Z", "--limit", "1"], ["pii.email"], id="page"),
    ],
)
def test_findings_are_filtered(run: Run, words: list[str], expected: list[str]) -> None:
    assert kinds(run("findings", "list", "--json", *words)) == expected


@pytest.mark.usefixtures("kept")
def test_a_full_page_says_how_to_see_more(run: Run) -> None:
    assert "--limit 4" in run("findings", "list", "--limit", "2").stderr
    assert "--limit" not in run("findings", "list").stderr


@pytest.mark.usefixtures("kept")
def test_no_match_is_said_and_is_no_error(run: Run) -> None:
    done = run("findings", "list", "--kind", "nothing")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "no findings match" in done.stderr


@pytest.mark.parametrize(
    "words", [["--severity", "bad"], ["--verdict", "maybe"], ["--limit", "0"], ["--since", "soon"]]
)
def test_a_bad_option_is_exit_code_2(run: Run, words: list[str]) -> None:
    assert run("findings", "list", *words).exit_code == 2


@pytest.mark.usefixtures("kept")
def test_a_decision_is_explained(run: Run) -> None:
    done = run("findings", "show", numbered_id(2))
    assert done.exit_code == 0
    for said in (
        "Instruction override",
        "critical, confidence 0.75",
        "messages[0].content, characters 3 to 9",
        "block, by rule balanced.injection",
        "LLM01:2025",
        f"traces show {numbered_id(2)}",
    ):
        assert said in done.stdout
    assert "no rule of the policy matched" in run("findings", "show", numbered_id(1)).stdout


def test_what_was_only_watched_is_told_from_what_was_done(keep: Keep, run: Run) -> None:
    keep(a_record(1, verdict=Verdict.FLAG, findings=(a("pii.email", verdict=Verdict.REDACT),)))
    assert "  would redact  " in run("findings", "list").stdout
    assert "decision  would redact" in run("findings", "show", numbered_id(1)).stdout
    assert "would redact  pii.email" in run("traces", "show", numbered_id(1)).stdout
    (row,) = json.loads(run("findings", "list", "--json").stdout)
    assert (row["verdict"], row["call_verdict"]) == ("redact", "flag")


@pytest.mark.usefixtures("kept")
def test_a_decision_is_explained_to_programs_too(run: Run) -> None:
    document = json.loads(run("findings", "show", numbered_id(2), "--json").stdout)
    (finding,) = document["findings"]
    assert set(DESIGNED) <= set(finding)
    assert document["verdict"] == "block"
    assert finding["title"] == "Instruction override"
    assert finding["owasp"] == ["LLM01:2025"]


@pytest.mark.usefixtures("kept")
def test_a_call_without_findings_says_so(run: Run) -> None:
    done = run("findings", "show", numbered_id(3))
    assert done.exit_code == 0
    assert "nothing was found" in done.stderr
    assert "9 bytes (media)" in done.stdout


def test_a_kind_of_another_version_is_told_by_its_name(keep: Keep, run: Run) -> None:
    keep(a_record(1, findings=(a("quantum_attack"),)))
    assert "quantum_attack" in run("findings", "show", numbered_id(1)).stdout


def test_control_characters_are_seen_and_do_nothing(keep: Keep, run: Run) -> None:
    keep(a_record(1, path=HOSTILE, findings=(a(HOSTILE, location=HOSTILE, rule=HOSTILE),)))
    for words in (("list",), ("show", numbered_id(1))):
        output = run("findings", *words).stdout
        assert "a\\x00b\\x1b[2J\\u202ec" in output
        assert not {"\0", "\x1b", "\u202e"} & set(output)


@pytest.mark.usefixtures("kept")
def test_an_unknown_id_is_exit_code_1(run: Run) -> None:
    done = run("findings", "show", "019ab0c2")
    assert done.exit_code == 1
    assert "there is no trace '019ab0c2'" in done.stderr


def test_without_any_traces_the_way_to_some_is_said(run: Run) -> None:
    done = run("findings", "list")
    assert done.exit_code == 1
    assert "there are no traces yet" in done.stderr


@pytest.mark.usefixtures("kept")
def test_the_call_tells_of_its_findings(run: Run) -> None:
    done = run("traces", "show", numbered_id(2))
    assert "prompt_injection, critical, at messages[0].content" in done.stdout
    assert f"findings show {numbered_id(2)}" in done.stdout


def test_kinds_are_completed(run: Run) -> None:
    words = "llmtrace findings list --kind pii.e"
    done = run(_LLMTRACE_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD="4")
    assert done.stdout.splitlines() == ["plain,pii.email"]
    done = run(_LLMTRACE_COMPLETE="bash_complete", COMP_WORDS=words[:-2], COMP_CWORD="4")
    assert "plain,pii.*" in done.stdout.splitlines()
