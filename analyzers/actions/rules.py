"""The table of rules: what each is about, how bad it is, and the calls and texts it holds for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import re2
import yaml

from llmtrace.analyzers.actions.paths import shelf
from llmtrace.analyzers.actions.unwrap import Call
from llmtrace.domain.findings import Severity

ORDER = tuple(Severity)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule; the detector of its hits is ``actions.ID``."""

    id: str
    kind: str
    severity: Severity
    about: str
    confidence: float = 0.9


@dataclass(frozen=True, slots=True)
class Pattern:
    """Calls or texts that a rule holds for. Patterns are RE2's, so that none can run away."""

    rule: str
    all: tuple[Any, ...]  # re2 ships no types
    none: tuple[Any, ...] = ()

    def holds(self, text: str) -> bool:
        """Whether it holds for the words of a call, or a program text."""
        if any(pattern.search(text) for pattern in self.none):
            return False
        return all(pattern.search(text) for pattern in self.all)


@dataclass(frozen=True, slots=True)
class Rules:
    """``rules.yaml`` and the rules of ``paths.yaml``, as they are looked up."""

    by_id: Mapping[str, Rule]
    calls: Mapping[str, tuple[Pattern, ...]]
    code: tuple[Pattern, ...]


@cache
def rules() -> Rules:
    """Return the shipped rules.

    Raises:
        ValueError: A pattern is not RE2's, or a rule has a kind that does not exist.
    """
    own = files("llmtrace.analyzers.actions")
    data = yaml.safe_load((own / "rules.yaml").read_text(encoding="utf-8"))["rules"]
    kinds = yaml.safe_load((files("llmtrace.analyzers") / "kinds.yaml").read_text(encoding="utf-8"))
    by_id = {row["id"]: _rule(row, kinds) for row in data} | {r.id: r for r in _of_files()}
    calls: dict[str, list[Pattern]] = {}
    for row in data:
        for when in row.get("when", ()):
            pattern = Pattern(row["id"], _all(when.get("all")), _all(when.get("none")))
            for program in when["programs"]:
                calls.setdefault(str(program), []).append(pattern)
    code = tuple(Pattern(row["id"], _all(texts)) for row in data for texts in row.get("code", ()))
    return Rules(by_id, {name: tuple(found) for name, found in calls.items()}, code)


def _rule(row: Mapping[str, Any], kinds: Mapping[str, Any]) -> Rule:
    if row["kind"] not in kinds:
        raise ValueError(f"rules.yaml: rule {row['id']!r} has kind {row['kind']!r}, not in kinds.yaml")
    return Rule(
        id=row["id"],
        kind=row["kind"],
        severity=Severity(row.get("severity", kinds[row["kind"]]["severity"])),
        about=row["about"],
        confidence=row.get("confidence", 0.9),
    )


def _of_files() -> Iterator[Rule]:
    for row in shelf().rows:
        told = {"read": row.read, "write": row.write}
        known = {access: severity for access, severity in told.items() if severity is not None}
        about = ", ".join(f"{access}: {severity}" for access, severity in known.items())
        yield Rule(
            id=row.id,
            kind="sensitive_file_access",
            severity=min(known.values(), key=ORDER.index),
            about=f"{row.about} ({about})",
        )


def _all(patterns: list[str] | None) -> tuple[Any, ...]:
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    try:
        return tuple(re2.compile(pattern, options) for pattern in patterns or ())
    except re2.error as error:
        raise ValueError(f"rules.yaml: a pattern is not RE2's: {error}") from error


def of_call(call: Call) -> Iterator[str]:
    """Go through the rules of the table that hold for a call."""
    patterns = rules().calls.get(call.name)
    if patterns:
        line = call.line
        yield from dict.fromkeys(one.rule for one in patterns if one.holds(line))


def of_code(text: str) -> Iterator[str]:
    """Go through the rules that hold for a program text in a language that is no shell's."""
    yield from dict.fromkeys(one.rule for one in rules().code if one.holds(text))


def catalogue() -> list[tuple[str, str, Severity, str]]:
    """Return each rule's id, kind, severity and what it is about, in the order of the tables."""
    return [(rule.id, rule.kind, rule.severity, rule.about) for rule in rules().by_id.values()]
