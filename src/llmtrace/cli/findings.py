"""``llmtrace findings``: list what was found over all calls, and explain it call by call."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from llmtrace.analyzers.kinds import Kind, kinds
from llmtrace.cli.columns import FINDINGS
from llmtrace.cli.common import config_option, json_option, terminal_width, visible
from llmtrace.cli.details import decision
from llmtrace.cli.filters import Moment, OneOf
from llmtrace.cli.rows import print_rows
from llmtrace.cli.traces import MAX_ROWS, no_such_trace, stores
from llmtrace.domain.findings import Finding, Severity, Verdict
from llmtrace.domain.traces import Trace
from llmtrace.environment.program import program
from llmtrace.storage.base import FindingQuery, Sighting, TraceNotFound
from llmtrace.storage.codec import to_json
from llmtrace.storage.export import finding_row

LABEL: Final = 10
_COLORS: Final[Mapping[Severity, str]] = {
    Severity.CRITICAL: "red",
    Severity.HIGH: "red",
    Severity.MEDIUM: "yellow",
}


def _kind_names(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    families = {f"{name.partition('.')[0]}.*" for name in kinds() if "." in name}
    return [
        CompletionItem(name) for name in sorted({*kinds(), *families}) if name.startswith(begun)
    ]


@click.group()
def findings() -> None:
    """List what was found in calls, and explain what became of it."""


@findings.command(
    "list",
    epilog="""\b
Examples:
    llmtrace findings list --severity high --since 24h
    llmtrace findings list --kind 'secret.*' --verdict block
    llmtrace findings list --json | jq -r '.[].kind' | sort | uniq -c
""",
)
@config_option
@click.option("--kind", shell_complete=_kind_names, help="Such as pii.email, or 'pii.*'.")
@click.option(
    "--severity",
    type=OneOf(Severity),
    help="The mildest that is meant.",
)
@click.option(
    "--verdict",
    type=OneOf(Verdict),
    help="What became of it.",
)
@click.option("--trace", "trace_id", help="Those of one call, by its id.")
@click.option("--tenant", help="Who pays.")
@click.option("--agent", help="Who acts.")
@click.option("--since", type=Moment(), help="From this time on: ISO 8601, or 30m, 2h, 7d.")
@click.option("--until", type=Moment(), help="Before this time.")
@click.option(
    "--limit",
    type=click.IntRange(1, MAX_ROWS),
    default=50,
    show_default=True,
    help="At most so many findings.",
)
@json_option
def list_(config: Path | None, as_json: bool, **wanted: Any) -> None:
    """List findings, those of the newest call first. What was found is not shown, only where."""
    with stores(config) as storage:
        found = storage.traces.findings(FindingQuery(**wanted))
    if as_json:
        _write([finding_row(one) for one in found])
        return
    if not found:
        click.echo("no findings match", err=True)
        return
    print_rows(FINDINGS, found, terminal_width())
    more = f"; there may be more: --limit {2 * len(found)}" if len(found) == wanted["limit"] else ""
    click.echo(f"explained: {program()} findings show TRACE{more}", err=True)


@findings.command(
    epilog="""\b
Examples:
    llmtrace findings show 019ab0c2-…
    llmtrace findings show 019ab0c2-… --json | jq '.findings[] | {kind, verdict, rule}'
"""
)
@config_option
@click.argument("trace_id")
@json_option
def show(config: Path | None, trace_id: str, as_json: bool) -> None:
    """Explain one call: each finding, where it stands, and the rule that decided about it."""
    with stores(config) as storage:
        try:
            trace = storage.traces.get(trace_id)
        except TraceNotFound:
            raise no_such_trace(trace_id) from None
    if as_json:
        _write(_document(trace))
        return
    _show(trace)


def _document(trace: Trace) -> Mapping[str, object]:
    return {
        "trace_id": trace.trace_id,
        "started_at": trace.started_at.isoformat(),
        "tenant": trace.tenant,
        "agent": trace.agent,
        "outcome": trace.outcome,
        "verdict": trace.verdict,
        "unread_bytes": trace.coverage.unread_bytes,
        "findings": [
            finding_row(_sighting(trace, finding)) | _explained(finding.kind)
            for finding in trace.findings
        ],
    }


def _sighting(trace: Trace, finding: Finding) -> Sighting:
    return Sighting(
        trace_id=trace.trace_id,
        started_at=trace.started_at,
        tenant=trace.tenant,
        agent=trace.agent,
        call_verdict=trace.verdict,
        finding=finding,
    )


def _explained(name: str) -> dict[str, object]:
    kind = _kind(name)
    return {"title": kind.title, "about": kind.about, "owasp": kind.owasp}


def _kind(name: str) -> Kind:
    """Return what is known of a kind; one that another version found is told by its name."""
    unknown = Kind(name=name, title=name, severity=Severity.INFO, owasp=(), about="")
    return kinds().get(name, unknown)


def _show(trace: Trace) -> None:
    gaps = ", ".join(f"{gap.size} bytes ({gap.reason})" for gap in trace.coverage.gaps)
    call = f"{trace.method} {trace.host}{trace.path}, {trace.outcome} {trace.status or ''}"
    _tell("trace", trace.trace_id)
    _tell("call", call.strip())
    _tell("verdict", trace.verdict)
    _tell("unread", gaps or "nothing")
    if not trace.findings:
        click.echo("\nnothing was found in this call", err=True)
    for number, finding in enumerate(trace.findings, 1):
        title = click.style(
            visible(_kind(finding.kind).title), bold=True, fg=_COLORS.get(finding.severity)
        )
        click.echo(f"\n{number:>{LABEL}}  {title}")
        for name, text in _facts(finding, trace.verdict):
            _tell(name, text)
    if trace.findings:
        more = f"what was said there: {program()} traces show {visible(trace.trace_id)}"
        click.secho(f"\n{more}", dim=True)


def _facts(finding: Finding, call: Verdict) -> Iterator[tuple[str, str]]:
    kind = _kind(finding.kind)
    rule = f", by rule {finding.rule}" if finding.rule else ", no rule of the policy matched"
    yield "kind", finding.kind
    yield "severity", f"{finding.severity}, confidence {finding.confidence:.2f}"
    yield "where", f"{finding.location}, characters {finding.start} to {finding.end}"
    yield "seen by", finding.detector
    yield "decision", f"{decision(finding.verdict, call)}{rule}"
    if kind.owasp:
        yield "OWASP", ", ".join(kind.owasp)
    if kind.about:
        yield "about", kind.about


def _tell(name: str, text: str) -> None:
    click.echo(f"{click.style(f'{name:>{LABEL}}', dim=True)}  {visible(text)}")


def _write(value: object) -> None:
    sys.stdout.buffer.write(to_json(value) + b"\n")
    sys.stdout.buffer.flush()
