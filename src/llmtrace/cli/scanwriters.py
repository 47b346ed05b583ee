"""The forms in which a scan is told: lines for people, rows, what is redacted, and SARIF."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import click

from llmtrace.cli.common import visible
from llmtrace.cli.sarif import Report
from llmtrace.cli.scanmeter import Meter
from llmtrace.cli.scanning import Result, Spots
from llmtrace.cli.scantexts import Unreadable
from llmtrace.domain.findings import Finding, Severity
from llmtrace.storage.codec import from_json, to_json

_SEVERITIES: Final = tuple(Severity)
_COLORS: Final[Mapping[Severity, str]] = {
    Severity.CRITICAL: "red",
    Severity.HIGH: "red",
    Severity.MEDIUM: "yellow",
}


@dataclass(slots=True)
class Total:
    """What all results come to."""

    texts: int = 0
    suspicious: int = 0
    """Texts in which something was found."""
    unreadable: int = 0
    partly: int = 0
    """Texts in which something was not looked for to the end."""
    unmasked: int = 0
    """Texts that were to be redacted, and are not written."""
    findings: dict[Severity, int] = field(default_factory=lambda: dict.fromkeys(Severity, 0))

    def take(self, result: Result) -> None:
        """Count a result."""
        self.texts += 1
        self.suspicious += bool(result.findings)
        self.partly += bool(result.skipped or result.document.unread)
        self.unmasked += bool(result.unmasked)
        for finding in result.findings:
            self.findings[finding.severity] += 1

    def at_least(self, severity: Severity) -> bool:
        """Whether something as bad, or worse, was found."""
        worse = _SEVERITIES[: _SEVERITIES.index(severity) + 1]
        return any(self.findings[one] for one in worse)

    def __str__(self) -> str:
        found = ", ".join(f"{count} {name}" for name, count in self.findings.items() if count)
        texts = f"{self.suspicious} of {self.texts} texts" if found else f"{self.texts} texts"
        said = f"{found} in {texts}" if found else f"nothing found in {texts}"
        more = {
            "could not be read": self.unreadable,
            "not looked at to the end": self.partly,
            "not redacted, and not written": self.unmasked,
        }
        return "; ".join([said, *(f"{count} {what}" for what, count in more.items() if count)])

    @property
    def incomplete(self) -> bool:
        """Whether something is missing of what was asked for."""
        return bool(self.unreadable or self.unmasked)


class Writer(Protocol):
    """Tells results one after the other."""

    lines: bool
    """Whether it writes nothing but lines for people, and by the meter."""

    def result(self, result: Result, meter: Meter) -> None:
        """Tell of a document."""
        ...

    def unreadable(self, entry: Unreadable, meter: Meter) -> None:
        """Tell what could not be read."""
        ...

    def close(self, total: Total) -> None:
        """Tell what it comes to."""
        ...


class Lines:
    """For people: a line for each finding, as compilers write them."""

    lines = True

    def result(self, result: Result, meter: Meter) -> None:
        """Tell of a document."""
        for line in found_lines(result):
            meter.say(line)
        for line in unread_lines(result):
            meter.say(line)

    def unreadable(self, entry: Unreadable, meter: Meter) -> None:
        """Tell what could not be read."""
        del meter  # an error
        click.echo(unreadable_line(entry), err=True)

    def close(self, total: Total) -> None:
        """Tell what it comes to."""
        click.echo(str(total), err=True)


class Rows:
    """For programs: a JSON object for each document; offsets are code points of its text."""

    lines = False

    def result(self, result: Result, meter: Meter) -> None:
        """Tell of a document."""
        del meter
        _write(to_json(result_row(result)) + b"\n")

    def unreadable(self, entry: Unreadable, meter: Meter) -> None:
        """Tell what could not be read."""
        del meter
        place = {"file": entry.source} | ({"line": entry.line} if entry.line else {})
        _write(to_json({**place, "error": entry.reason}) + b"\n")

    def close(self, total: Total) -> None:
        """Say on standard error what is missing: rows may go unseen into a file."""
        if total.unreadable or total.partly or total.unmasked:
            click.echo(str(total), err=True)


class Redacted:
    """What came, with values masked; what was found is told on standard error."""

    lines = False

    def result(self, result: Result, meter: Meter) -> None:
        """Write a document as it came, but for the values; nothing of it if some may be left."""
        del meter
        for line in (*found_lines(result), *unread_lines(result)):
            click.echo(line, err=True)
        document, redacted = result.document, result.redacted
        if redacted is None:
            return
        if document.row is None:
            _write(document.encoding.encode(redacted))
        else:
            _write(to_json({**document.row, "text": redacted}) + b"\n")

    def unreadable(self, entry: Unreadable, meter: Meter) -> None:
        """Tell what could not be read; none of it is written."""
        del meter
        click.echo(unreadable_line(entry), err=True)

    def close(self, total: Total) -> None:
        """Tell what it comes to."""
        click.echo(str(total), err=True)


class Sarif:
    """For code hosts: one document in the end."""

    lines = False

    def __init__(self) -> None:
        self._report = Report()

    def result(self, result: Result, meter: Meter) -> None:
        """Take a document's findings."""
        del meter
        self._report.add(result)

    def unreadable(self, entry: Unreadable, meter: Meter) -> None:
        """Take what could not be read."""
        del meter
        self._report.add_unreadable(entry)

    def close(self, total: Total) -> None:
        """Write the document."""
        _write(to_json(self._report.document()) + b"\n")
        click.echo(str(total), err=True)


def result_row(result: Result) -> dict[str, Any]:
    """Return a result as ``scan --json`` shows it."""
    document = result.document
    row: dict[str, Any] = {
        "injection": result.injection,
        "verdict": result.verdict,
        "findings": [_finding_row(one) for one in result.findings],
        "redacted": _redacted(result),
        "file": document.source,
    }
    if document.line:
        row["line"] = document.line
    if document.unread:
        row["unread"] = document.unread
    if result.skipped:
        row["skipped"] = result.skipped
    if result.unmasked:
        row["unmasked"] = result.unmasked
    return row


def _redacted(result: Result) -> object:
    """Return a text as text, and a transcript as the JSON document that it is."""
    if result.document.body is None or result.redacted is None:
        return result.redacted
    return from_json(result.redacted)


def _finding_row(finding: Finding) -> Mapping[str, object]:
    place = {"location": finding.location} if finding.location else {}
    return {
        "kind": finding.kind,
        "severity": finding.severity,
        "confidence": finding.confidence,
        "start": finding.start,
        "end": finding.end,
        **place,
        "verdict": finding.verdict,
        "rule": finding.rule,
        "detector": finding.detector,
    }


def found_lines(result: Result) -> Iterator[str]:
    """Yield a line for each finding: where, what, how sure, and what becomes of it."""
    spots = Spots(result.document)
    source = visible(result.document.source)
    for finding in result.findings:
        spot = spots.of(finding)
        where = f"{source}:{spot.line}" + (f":{spot.column}" if spot.column else "")
        if finding.location:
            where = f"{source}: {visible(finding.location)}"
        severity = click.style(finding.severity, fg=_COLORS.get(finding.severity))
        sure = f"{finding.confidence:.2f}"
        seen = click.style(f"({finding.detector})", dim=True)
        yield f"{where}: {severity} {finding.kind} {sure} {finding.verdict} {seen}"


def unread_lines(result: Result) -> Iterator[str]:
    """Yield what of a document was not scanned."""
    source = visible(result.document.source)
    if result.document.unread:
        yield f"{source}: not scanned: {visible(result.document.unread)}"
    if result.unmasked:
        line = f":{result.document.line}" if result.document.line else ""
        yield f"{source}{line}: not written: {visible(result.unmasked)}"
    elif result.skipped:
        yield f"{source}: not looked for to the end: {', '.join(result.skipped)}"


def unreadable_line(entry: Unreadable) -> str:
    """Return what could not be read, and why."""
    line = f":{entry.line}" if entry.line else ""
    return f"{visible(entry.source)}{line}: {entry.reason}"


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()  # who feeds rows through a pipe waits for theirs
