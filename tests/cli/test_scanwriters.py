import json
from dataclasses import replace

import pytest

from llmtrace.cli.scanmeter import Meter
from llmtrace.cli.scanning import Result
from llmtrace.cli.scantexts import Document, Piece, Unreadable
from llmtrace.cli.scanwriters import (
    Lines,
    Redacted,
    Rows,
    Sarif,
    Total,
    Writer,
    found_lines,
    result_row,
    unread_lines,
)
from llmtrace.domain.findings import Finding, Severity, Verdict
from llmtrace.domain.parts import Origin, Role

BROKEN = Unreadable(source="a\x1b[2J.jsonl", line=3, reason="not JSON")


def finding(location: str = "", severity: Severity = Severity.HIGH) -> Finding:
    return Finding(
        kind="pii.ssn",
        severity=severity,
        confidence=0.876,
        location=location,
        start=4,
        end=6,
        detector="pii.ssn",
        verdict=Verdict.REDACT,
        rule="strict.personal",
    )


def result(*findings: Finding, redacted: str | None = None, **document: object) -> Result:
    values: dict[str, object] = {
        "source": "f\x1b[2J",
        "pieces": (Piece(text="see\nN1 sesame", role=Role.USER, origin=Origin.TRUSTED),),
    }
    return Result(
        document=Document(**(values | document)),  # type: ignore[arg-type]  # fields by name
        findings=findings,
        redacted=redacted,
    )


def test_a_line_says_where_and_what_becomes_of_it_and_not_what_it_is() -> None:
    (line,) = found_lines(result(finding()))
    assert line.startswith("f\\x1b[2J:2:1: ")
    for said in ("high", "pii.ssn", "0.88", "redact"):
        assert said in line
    assert "sesame" not in line


def test_a_place_in_a_transcript_is_its_path() -> None:
    (line,) = found_lines(result(finding("messages[0].content"), body=b"{}"))
    assert line.startswith("f\\x1b[2J: messages[0].content: ")


def test_a_row_has_the_names_that_scripts_rely_on() -> None:
    row = result_row(result(finding(), line=7, row={"text": "x"}, redacted="see\n[PII:SSN]"))
    assert (row["injection"], row["verdict"], row["redacted"]) == (
        0.0, Verdict.REDACT, "see\n[PII:SSN]",
    )  # fmt: skip
    assert row["line"] == 7
    (told,) = row["findings"]
    wanted = {"kind": "pii.ssn", "severity": "high", "confidence": 0.876, "start": 4, "end": 6}
    assert wanted.items() <= told.items()
    assert "sesame" not in str(row)


def test_a_row_of_a_transcript_has_its_document() -> None:
    row = result_row(result(finding("a"), body=b'{"a":1}', redacted='{"a": "[PII:SSN]"}'))
    assert row["redacted"] == {"a": "[PII:SSN]"}
    assert row["findings"][0]["location"] == "a"


def test_what_was_not_looked_for_is_told() -> None:
    hurried = replace(result(), skipped=["words.long (timeout)"])
    assert result_row(hurried)["skipped"] == ["words.long (timeout)"]
    (line,) = unread_lines(hurried)
    assert "words.long (timeout)" in line


def test_nobody_asked_for_masks() -> None:
    assert result_row(result())["redacted"] is None


@pytest.mark.parametrize(
    ("total", "said"),
    [
        (Total(texts=3), "nothing found in 3 texts"),
        (
            Total(
                texts=3,
                suspicious=2,
                unreadable=1,
                findings=dict.fromkeys(Severity, 0) | {Severity.HIGH: 4, Severity.LOW: 1},
            ),
            "4 high, 1 low in 2 of 3 texts; 1 could not be read",
        ),
    ],
    ids=["nothing", "something"],
)
def test_a_sum_is_told(total: Total, said: str) -> None:
    assert str(total) == said


def test_a_sum_knows_what_is_as_bad_or_worse() -> None:
    total = Total()
    total.take(result(finding(severity=Severity.MEDIUM)))
    assert total.at_least(Severity.MEDIUM)
    assert total.at_least(Severity.INFO)
    assert not total.at_least(Severity.HIGH)
    assert (total.texts, total.suspicious) == (1, 1)


def told(
    writer: Writer, capfdbinary: pytest.CaptureFixture[bytes], *results: Result
) -> tuple[str, str]:
    total = Total(unreadable=1)
    for one in results:
        total.take(one)
        writer.result(one, Meter())
    writer.unreadable(BROKEN, Meter())
    writer.close(total)
    out, err = capfdbinary.readouterr()
    assert b"\x1b" not in out + err
    return out.decode("utf-8", "surrogateescape"), err.decode()


def test_lines_go_to_the_screen_and_the_sum_beside(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    out, err = told(Lines(), capfdbinary, result(finding(), unread="image at messages[1]"))
    assert "pii.ssn" in out
    assert "not scanned: image at messages[1]" in out
    assert "a\\x1b[2J.jsonl:3: not JSON" in err
    assert "1 high in 1 of 1 texts; 1 could not be read" in err


def test_rows_are_one_a_line_and_errors_among_them(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    out, err = told(Rows(), capfdbinary, result(finding()), result())
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row.get("verdict") for row in rows] == ["redact", "allow", None]
    assert (rows[-1]["line"], rows[-1]["error"]) == (3, "not JSON")
    assert "1 could not be read" in err


def test_what_is_redacted_is_what_came_but_for_values(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    row = {"id": 1, "text": "N1", "more": [True]}
    out, err = told(
        Redacted(),
        capfdbinary,
        result(redacted="a\udcff\n"),
        result(finding(), redacted="[PII:SSN]", row=row, line=1),
        result(redacted='{"a": 1}', body=b"{}"),
    )
    text, line, body = out.split("\n")
    assert (text, body) == ("a\udcff", '{"a": 1}')
    assert json.loads(line) == {"id": 1, "text": "[PII:SSN]", "more": [True]}
    assert "pii.ssn" in err
    assert "not JSON" in err


def test_sarif_is_one_document(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    out, err = told(Sarif(), capfdbinary, result(finding()), result())
    (run,) = json.loads(out)["runs"]
    assert len(run["results"]) == 1
    assert run["invocations"][0]["executionSuccessful"] is False
    assert "1 high" in err
