from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from llmtrace.domain.findings import Severity, Verdict
from llmtrace.domain.ids import new_trace_id
from llmtrace.domain.traces import Outcome, Record, Trace
from llmtrace.domain.usage import Usage
from llmtrace.environment.clients import examine
from llmtrace.environment.report import (
    UNKNOWN,
    RunReport,
    bypassed,
    collect,
    reasons,
    settled,
)
from llmtrace.environment.tlsfailures import TlsFailure
from llmtrace.providers.hosts import default_hosts
from llmtrace.storage.base import TraceTotals
from llmtrace.storage.memory import MemoryTraceRepository
from llmtrace.testing.records import a_finding, a_trace

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def trace(run: str, model: str, outcome: Outcome = Outcome.OK, at: datetime = NOON) -> Record:
    return Record(
        trace=Trace(
            trace_id=new_trace_id(),
            started_at=at,
            tenant="t",
            agent="a",
            run=run,
            model=model,
            outcome=outcome,
            usage=Usage(input_tokens=10, output_tokens=2),
            cost_nano_usd=1_000_000,
        )
    )


@pytest.fixture
def traces() -> Iterator[MemoryTraceRepository]:
    repository = MemoryTraceRepository()
    yield repository
    repository.close()


def test_a_report_sums_its_own_run_only(traces: MemoryTraceRepository) -> None:
    traces.put(
        [
            trace("mine", "big"),
            trace("mine", "big", Outcome.PROVIDER_ERROR),
            trace("mine", "small"),
            trace("other", "big"),
        ]
    )
    report = collect(traces, "mine", since=NOON)
    assert report.totals.calls == 3
    assert report.totals.input_tokens == 30
    assert report.totals.cost_nano_usd == 3_000_000
    assert report.models == (("big", 2), ("small", 1))
    assert report.failed == 1
    assert report.failures == (("provider_error", 1),)


def found_in(number: int, severity: Severity, verdict: Verdict) -> Record:
    found = replace(a_finding("secret.token"), severity=severity, verdict=verdict)
    return Record(trace=a_trace(number, run="mine", findings=(found,), verdict=verdict))


def test_a_report_says_what_was_found_and_what_became_of_it(
    traces: MemoryTraceRepository,
) -> None:
    traces.put(
        [
            found_in(1, Severity.HIGH, Verdict.REDACT),
            found_in(2, Severity.CRITICAL, Verdict.BLOCK),
            found_in(3, Severity.CRITICAL, Verdict.BLOCK),
            found_in(4, Severity.HIGH, Verdict.FLAG),
            Record(trace=a_trace(5, run="mine", verdict=Verdict.ALLOW)),
        ]
    )
    report = collect(traces, "mine", since=NOON)
    assert report.severities == ((Severity.CRITICAL, 2), (Severity.HIGH, 2))
    assert report.acted == ((Verdict.BLOCK, 2), (Verdict.REDACT, 1))
    assert report.worst == a_trace(3).trace_id


def test_a_run_in_which_nothing_was_found_has_nothing_to_explain(
    traces: MemoryTraceRepository,
) -> None:
    traces.put([trace("mine", "big")])
    report = collect(traces, "mine", since=NOON)
    assert (report.severities, report.acted, report.worst) == ((), (), "")


def test_calls_without_a_name_are_told_where_there_are_no_others(
    traces: MemoryTraceRepository,
) -> None:
    traces.put([trace("", "big"), trace("", "big", at=NOON - timedelta(hours=1))])
    report = collect(traces, "mine", since=NOON)
    assert (report.totals.calls, report.strays) == (0, 1)


def test_reading_goes_on_until_nothing_changes_or_is_pending() -> None:
    one = RunReport(totals=TraceTotals(calls=1), pending=1)
    done = RunReport(totals=TraceTotals(calls=1))
    readings = iter([RunReport(totals=TraceTotals()), one, one, done, done, done])
    assert settled(lambda: next(readings), sleep=lambda _: None) == done
    assert len(list(readings)) == 1


def test_reading_ends_though_a_call_never_does() -> None:
    slept: list[float] = []
    stuck = RunReport(totals=TraceTotals(calls=1), pending=1)
    assert settled(lambda: stuck, sleep=slept.append, most_steps=4) == stuck
    assert len(slept) == 4


def governs(host: str) -> bool:
    return default_hosts().provider_of(host) is not None


@pytest.mark.parametrize(
    ("exceptions", "expected"),
    [
        ("localhost,127.0.0.1,::1,169.254.169.254", ()),
        ("api.openai.com", ("api.openai.com",)),
        ("corp.example, .openai.com", (".openai.com",)),
        ("*.googleapis.com", ("*.googleapis.com",)),
        ("amazonaws.com:443", ("amazonaws.com:443",)),
        ("*", ("*",)),
        ("10.0.0.0/8,,[::]", ()),
    ],
)
def test_an_exception_that_hides_a_provider_is_noticed(
    exceptions: str, expected: tuple[str, ...]
) -> None:
    assert bypassed(exceptions, governs) == expected


def test_the_surest_reason_comes_first() -> None:
    failure = TlsFailure(host="api.openai.com", error="unknown ca", count=2, last_seen=NOON)
    node = examine("node", lambda _: "v20.1.0")
    found = reasons([node], failures=[failure], exceptions="*", governs=governs)
    assert "broke off TLS for api.openai.com 2 times: unknown ca" in found[0].why
    assert "NO_PROXY has '*'" in found[1].why
    assert "22.21" in found[2].why
    assert "AWS SDK" in found[3].why


def test_a_program_that_nobody_knows_has_a_reason_too() -> None:
    assert reasons([]) == (UNKNOWN,)
