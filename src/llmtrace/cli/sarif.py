"""Findings in SARIF 2.1.0, the form that code hosts show beside the code.

Source: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html; what GitHub reads of it:
https://docs.github.com/en/code-security/code-scanning/integrating-with-code-scanning
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from llmtrace import __version__
from llmtrace.analyzers.kinds import kinds
from llmtrace.cli.scanning import Result, Spot, Spots
from llmtrace.cli.scantexts import Unreadable
from llmtrace.domain.findings import Finding, Severity

SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
MAX_RESULTS: Final = 25_000
"""Results of a run that code hosts take; the rest is counted in a notification."""

_LEVELS: Final[Mapping[Severity, str]] = {
    Severity.CRITICAL: "error",
    Severity.HIGH: "error",
    Severity.MEDIUM: "warning",
    Severity.LOW: "note",
    Severity.INFO: "note",
}
_SCORES: Final[Mapping[Severity, str]] = {
    Severity.CRITICAL: "9.5",
    Severity.HIGH: "8.0",
    Severity.MEDIUM: "5.5",
    Severity.LOW: "2.0",
    Severity.INFO: "0.0",
}
"""``security-severity``: over 9.0 is critical to GitHub, 7.0 high, 4.0 medium."""


class Report:
    """One run of the scanner, gathered result by result."""

    def __init__(self) -> None:
        self._results: list[Mapping[str, Any]] = []
        self._notes: list[Mapping[str, Any]] = []
        self._more = 0
        self._complete = True

    def add(self, result: Result) -> None:
        """Take a document's findings."""
        room = MAX_RESULTS - len(self._results)
        self._more += max(0, len(result.findings) - room)
        spots = Spots(result.document)
        self._results += [
            _result(finding, spots.of(finding), result.document.source)
            for finding in result.findings[:room]
        ]

    def add_unreadable(self, entry: Unreadable) -> None:
        """Take what could not be read: the run was not complete."""
        self._complete = False
        location = _physical(entry.source, {"startLine": max(1, entry.line)})
        self._note("error", entry.reason, [{"physicalLocation": location}])

    def document(self) -> Mapping[str, Any]:
        """Return the whole log file."""
        if self._more:
            self._note("warning", f"{self._more} more findings are left out of this report", [])
        invocation = {
            "executionSuccessful": self._complete,
            "toolExecutionNotifications": self._notes,
        }
        run = {
            "tool": {"driver": _driver({one["ruleId"] for one in self._results})},
            "columnKind": "unicodeCodePoints",
            "invocations": [invocation],
            "results": self._results,
        }
        return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}

    def _note(self, level: str, text: str, locations: Sequence[Mapping[str, Any]]) -> None:
        self._notes.append({"level": level, "message": {"text": text}, "locations": locations})


def _driver(used: set[str]) -> Mapping[str, Any]:
    known = kinds()
    rules = []
    for name in sorted(used):
        rule: dict[str, Any] = {"id": name}
        if kind := known.get(name):
            rule |= {
                "name": "".join(word.title() for word in name.replace(".", "_").split("_")),
                "shortDescription": {"text": kind.title},
                "fullDescription": {"text": kind.about},
                "defaultConfiguration": {"level": _LEVELS[kind.severity]},
                "properties": {
                    "security-severity": _SCORES[kind.severity],
                    "tags": ["security", *kind.owasp],
                },
            }
        rules.append(rule)
    return {"name": "LLMTrace", "semanticVersion": __version__, "rules": rules}


def _result(finding: Finding, spot: Spot, source: str) -> Mapping[str, Any]:
    kind = kinds().get(finding.kind)
    title = kind.title if kind else finding.kind
    where = f" at {finding.location}" if finding.location else ""
    location: dict[str, Any] = {"physicalLocation": _physical(source, _region(spot))}
    if finding.location:
        location["logicalLocations"] = [{"fullyQualifiedName": finding.location}]
    return {
        "ruleId": finding.kind,
        "level": _LEVELS[finding.severity],
        "rank": round(finding.confidence * 100, 1),
        "message": {"text": f"{title}{where}: the policy would {finding.verdict} it"},
        "locations": [location],
        "properties": {
            "severity": finding.severity,
            "confidence": finding.confidence,
            "verdict": finding.verdict,
            "rule": finding.rule,
            "detector": finding.detector,
            "start": finding.start,
            "end": finding.end,
        },
    }


def _physical(source: str, region: Mapping[str, int]) -> Mapping[str, Any]:
    return {"artifactLocation": {"uri": _uri(source)}, "region": region}


def _uri(source: str) -> str:
    """Write a file's name relative to where the scan ran, which is how code hosts know it."""
    if source == "-":
        return "stdin"
    path = Path(source)
    if path.is_absolute():
        if not path.is_relative_to(Path.cwd()):
            return path.as_uri()
        path = path.relative_to(Path.cwd())
    return quote(os.fsencode(path.as_posix()))


def _region(spot: Spot) -> Mapping[str, int]:
    if not spot.column:
        return {"startLine": spot.line}
    return {
        "startLine": spot.line,
        "startColumn": spot.column,
        "endLine": spot.end_line,
        "endColumn": spot.end_column,
    }
