"""Calls and findings as rows: which columns there are, and how wide a screen they need."""

from datetime import datetime
from typing import Final

from llmtrace.cli.common import dollars
from llmtrace.cli.details import decision
from llmtrace.cli.rows import Column
from llmtrace.domain.traces import Outcome, Trace
from llmtrace.storage.base import Sighting

_WELL: Final = (Outcome.OK, Outcome.PENDING)


def _time(moment: datetime) -> str:
    there = moment.astimezone()
    today = there.date() == datetime.now(there.tzinfo).date()
    return f"{there:%H:%M:%S}" if today else f"{there:%m-%d %H:%M}"


CALLS: Final[tuple[Column[Trace], ...]] = (
    Column(title="started", width=11, value=lambda t: _time(t.started_at)),
    Column(title="agent", width=16, least=145, value=lambda t: t.agent),
    Column(title="run", width=18, least=165, value=lambda t: t.run),
    Column(
        title="model",
        width=16,
        grows=16,
        value=lambda t: t.model_answered or t.model or t.operation,
    ),
    Column(title="outcome", width=11, least=90, value=lambda t: _end(t)),
    Column(title="verdict", width=10, least=102, value=lambda t: t.verdict),
    Column(title="in", width=7, least=119, right=True, value=lambda t: str(t.usage.input_tokens)),
    Column(title="out", width=6, least=119, right=True, value=lambda t: str(t.usage.output_tokens)),
    Column(title="cost", width=8, most=89, right=True, value=lambda t: _cost_or_end(t)),
    Column(title="cost", width=8, least=90, right=True, value=lambda t: dollars(t.cost_nano_usd)),
    Column(title="ms", width=6, least=127, right=True, value=lambda t: _ms(t.duration_ms)),
    Column(title="trace", width=36, whole=True, value=lambda t: t.trace_id),
)

FINDINGS: Final[tuple[Column[Sighting], ...]] = (
    Column(title="started", width=11, least=93, value=lambda s: _time(s.started_at)),
    Column(title="agent", width=14, least=139, value=lambda s: s.agent),
    Column(title="kind", width=18, grows=6, value=lambda s: s.finding.kind),
    Column(title="severity", width=8, value=lambda s: s.finding.severity),
    Column(
        title="conf", width=4, least=99, right=True, value=lambda s: f"{s.finding.confidence:.2f}"
    ),
    Column(
        title="verdict",
        width=12,
        grows=4,
        value=lambda s: decision(s.finding.verdict, s.call_verdict),
    ),
    Column(title="where", width=22, least=123, grows=20, value=lambda s: s.finding.location),
    Column(title="rule", width=18, least=159, grows=14, value=lambda s: s.finding.rule),
    Column(title="trace", width=36, whole=True, value=lambda s: s.trace_id),
)


def _cost_or_end(trace: Trace) -> str:
    """A narrow screen has no column for how a call ended, and one that failed must be seen."""
    return dollars(trace.cost_nano_usd) if trace.outcome in _WELL else _end(trace)


def _end(trace: Trace) -> str:
    """Say how a call ended, without the word that tells whose code it is: the rest must fit."""
    code = trace.error_code or trace.outcome.value
    return code.removeprefix("llmtrace_").removeprefix("provider_")


def _ms(milliseconds: float | None) -> str:
    return "-" if milliseconds is None else f"{milliseconds:.0f}"
