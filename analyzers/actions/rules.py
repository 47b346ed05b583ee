"""The table of rules: what each is about, how bad it is, and the calls and texts it holds for."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import NotRequired, TypedDict

from llmtrace.analyzers.actions.paths import shelf
from llmtrace.analyzers.actions.tables import table
from llmtrace.analyzers.actions.unwrap import Call
from llmtrace.analyzers.automata import BadPattern, Matcher, matcher
from llmtrace.analyzers.kinds import kinds
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


class When(TypedDict):
    """Calls that a row of ``rules.yaml`` holds for."""

    programs: list[str]
    all: NotRequired[list[str]]
    none: NotRequired[list[str]]


class Row(TypedDict):
    """A row of ``rules.yaml``."""

    id: str
    kind: str
    about: str
    severity: NotRequired[str]
    confidence: NotRequired[float]
    when: NotRequired[list[When]]
    code: NotRequired[list[list[str]]]


@dataclass(frozen=True, slots=True)
class Pattern:
    """Calls or texts that a rule holds for. RE2 matches them, so that none can run away."""

    rule: str
    all: tuple[Matcher, ...]
    none: tuple[Matcher, ...] = ()

    def holds(self, text: bytes) -> bool:
        """Whether it holds for the words of a call, or a program text."""
        if not all(pattern.search(text) for pattern in self.all):
            return False
        return not any(pattern.search(text) for pattern in self.none)


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
    rows: list[Row] = table("rules.yaml")["rules"]
    by_id = {row["id"]: _rule(row) for row in rows} | {rule.id: rule for rule in _of_files()}
    calls: dict[str, list[Pattern]] = {}
    for row in rows:
        for when in row.get("when", ()):
            all_, none = when.get("all", ()), when.get("none", ())
            pattern = Pattern(row["id"], _matchers(row, all_), _matchers(row, none))
            for program in when["programs"]:
                calls.setdefault(str(program), []).append(pattern)
    code = tuple(
        Pattern(row["id"], _matchers(row, texts)) for row in rows for texts in row.get("code", ())
    )
    return Rules(by_id, {name: tuple(found) for name, found in calls.items()}, code)


def _rule(row: Row) -> Rule:
    kind = kinds().get(row["kind"])
    if kind is None:
        raise ValueError(f"rules.yaml: {row['id']!r} is of kind {row['kind']!r}, not in kinds.yaml")
    return Rule(
        id=row["id"],
        kind=kind.name,
        severity=Severity(row.get("severity", kind.severity)),
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


def _matchers(row: Row, patterns: Iterable[str]) -> tuple[Matcher, ...]:
    try:
        return tuple(matcher(f"(?i){pattern}") for pattern in patterns)
    except BadPattern as error:
        raise ValueError(f"rules.yaml: {row['id']!r} has a bad pattern: {error}") from error


def of_call(call: Call) -> Iterator[str]:
    """Go through the rules of the table that hold for a call."""
    patterns = rules().calls.get(call.name)
    if patterns:
        line = call.line.encode("utf-8", "replace")
        yield from dict.fromkeys(one.rule for one in patterns if one.holds(line))


def of_code(text: str) -> Iterator[str]:
    """Go through the rules that hold for a program text in a language that is no shell's."""
    source = text.encode("utf-8", "replace")
    yield from dict.fromkeys(one.rule for one in rules().code if one.holds(source))


def catalogue() -> list[tuple[str, str, Severity, str]]:
    """Return each rule's id, kind, severity and what it is about, in the order of the tables."""
    return [(rule.id, rule.kind, rule.severity, rule.about) for rule in rules().by_id.values()]
