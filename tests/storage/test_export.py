import csv
import io
import json
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import pytest
from hypothesis import given, settings

from llmtrace.domain.findings import Verdict
from llmtrace.domain.traces import Body, Record, Trace
from llmtrace.storage.base import Sighting
from llmtrace.storage.export import CSV_FIELDS, csv_lines, finding_row, jsonl_lines, trace_row
from llmtrace.testing.records import NOON, TEXTS, a_finding, a_record, a_trace, records, traces

CONTRACT = (
    "trace_id", "started_at", "tenant", "agent", "provider", "dialect", "model", "status",
    "verdict", "input_tokens", "output_tokens", "cost_usd", "duration_ms", "ttft_ms",
)  # fmt: skip


def line_of(record: Record, *, bodies: bool = False) -> dict[str, object]:
    (line,) = jsonl_lines([record], bodies=bodies)
    assert line.count(b"\n") == 1
    values: dict[str, object] = json.loads(line)
    return values


def cells_of(trace: Trace) -> dict[str, str]:
    head, row = csv.reader(io.StringIO("".join(csv_lines([trace])), newline=""))
    return dict(zip(head, row, strict=True))


def test_a_line_has_the_names_that_others_script_against() -> None:
    values = line_of(a_record())
    assert set(CONTRACT) <= set(values)
    assert values["cost_usd"] == 0.00125
    assert values["started_at"] == "2026-03-04T12:00:00+00:00"
    assert values["input_tokens"] == 900


def test_a_finding_says_where_and_why_and_never_what() -> None:
    finding = replace(a_finding("pii.email"), verdict=Verdict.REDACT, rule="r")
    sighting = Sighting(
        trace_id="t",
        started_at=NOON,
        tenant="",
        agent="a",
        call_verdict=Verdict.FLAG,
        finding=finding,
    )
    assert finding_row(sighting) == {
        "trace_id": "t",
        "started_at": "2026-03-04T12:00:00+00:00",
        "tenant": "",
        "agent": "a",
        "call_verdict": "flag",
        "kind": "pii.email",
        "severity": "high",
        "confidence": 0.75,
        "location": "messages[0].content",
        "start": 3,
        "end": 9,
        "verdict": "redact",
        "rule": "r",
        "detector": "rules",
    }


def test_a_line_tells_what_became_of_its_findings() -> None:
    finding = replace(a_finding("pii.email"), verdict=Verdict.REDACT, rule="r")
    (told,) = cast("list[dict[str, object]]", line_of(a_record(findings=(finding,)))["findings"])
    assert (told["verdict"], told["rule"]) == ("redact", "r")


def test_no_price_is_no_cost() -> None:
    assert line_of(a_record(cost_nano_usd=None))["cost_usd"] is None
    assert cells_of(a_trace(cost_nano_usd=None))["cost_usd"] == ""


def test_a_line_has_every_field_of_a_trace() -> None:
    flattened = {"usage", "cost_nano_usd", "coverage"}
    assert set(Trace.__dataclass_fields__) - flattened <= set(trace_row(a_trace()))


def test_bodies_are_text_or_base64_and_only_when_asked_for() -> None:
    record = replace(a_record(), answer=Body(content=b"\xff\x00", media_type="audio/wav"))
    assert "request" not in line_of(record)
    values = line_of(record, bodies=True)
    assert values["request"] == {
        "media_type": "",
        "text": '{"messages":[{"role":"user","content":"hello"}]}',
    }
    assert values["answer"] == {"media_type": "audio/wav", "base64": "/wA="}
    assert line_of(Record(trace=a_trace()), bodies=True)["request"] is None


@settings(max_examples=60, deadline=None)
@given(records())
def test_any_record_is_one_line_of_json(record: Record) -> None:
    assert line_of(record, bodies=True)["trace_id"] == record.trace.trace_id


FORMULAS = [
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "  =1",
    "\u3000=1",
    "\ufeff=1",
    "\uff1d1+1",
]


@pytest.mark.parametrize("formula", FORMULAS, ids=range(len(FORMULAS)))
def test_a_formula_is_only_text_in_a_spreadsheet(formula: str) -> None:
    assert cells_of(a_trace(model=formula))["model"] == f"'{formula}"


@settings(max_examples=100, deadline=None)
@given(traces(error=TEXTS))
def test_any_trace_is_one_row_without_formulas(trace: Trace) -> None:
    cells = cells_of(trace)
    assert tuple(cells) == CSV_FIELDS
    assert all(cell[:1] not in set("=+@\t\r") for cell in cells.values())
    "".join(csv_lines([trace])).encode()


def test_numbers_stay_numbers_and_lists_are_counted() -> None:
    cells = cells_of(a_trace(findings=(a_finding("x"), a_finding("y"))))
    assert (cells["duration_ms"], cells["findings"], cells["stream"]) == ("900.25", "2", "True")


def test_an_export_of_any_length_takes_the_same_memory() -> None:
    def many() -> Iterator[Record]:
        for number in range(200):
            yield replace(a_record(number), request=Body(content=b"x" * 100_000))

    tracemalloc.start()
    size = sum(len(line) for line in jsonl_lines(many(), bodies=True))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size > 20_000_000
    assert peak < 3_000_000
