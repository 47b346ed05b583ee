"""What was found in a call, and what is to become of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import Final

from llmtrace.analyzers.base import Context, Hit
from llmtrace.domain.findings import Finding, Severity, Verdict
from llmtrace.domain.parts import Path
from llmtrace.domain.values import dataclass
from llmtrace.policy.table import Decision, Place

MAX_FINDINGS: Final = 256
"""Findings of one call that are kept: the worst."""
ORDER: Final = {verdict: rank for rank, verdict in enumerate(Verdict)}
"""Verdicts, mildest first."""
_WORST: Final = {severity: rank for rank, severity in enumerate(Severity)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Whose call it is, as far as policies ask."""

    tenant: str = ""
    agent: str = ""
    provider: str = ""
    session: str = ""
    dialect: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What is to become of a request. ``edits`` are whole new texts by their place."""

    findings: tuple[Finding, ...] = ()
    edits: Mapping[Path, str] = field(default_factory=dict)
    hidden: Mapping[Path, str] = field(default_factory=dict)
    """The same for what is kept of the request alone: values that it was blocked for."""
    texts: Mapping[Path, str] = field(default_factory=dict)
    """What was read at the places of both."""
    entangled: bool = False
    """Whether two texts stand at one place, a member's name and its value, and both must change."""
    blocked: Finding | None = None
    skipped: tuple[tuple[str, str], ...] = ()
    """Detectors that left something out, and why."""
    incomplete: bool = False
    """Whether something that was left out would have been acted on, or may have been."""
    partly: frozenset[object] = frozenset()
    """Paths and channels of the texts in which they did."""

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of all findings."""
        return worst(self.findings)

    @property
    def kept_edits(self) -> Mapping[Path, str]:
        """All that is changed in what is kept of the request."""
        return {**self.edits, **self.hidden}


def worst(findings: Iterable[Finding]) -> Verdict:
    """Return the worst verdict among findings, ``allow`` if there are none."""
    return max((f.verdict for f in findings), key=ORDER.__getitem__, default=Verdict.ALLOW)


def place_of(caller: Caller, context: Context) -> Place:
    """Return where something stands, as policies ask."""
    return Place(
        role=context.role,
        origin=context.origin,
        direction=context.direction,
        provider=caller.provider,
        tenant=caller.tenant,
        agent=caller.agent,
    )


def finding(hit: Hit, location: str, decision: Decision) -> Finding:
    """Return a hit as what is kept of it."""
    return Finding(
        kind=hit.kind,
        severity=Severity.INFO if decision.silent else hit.severity,
        confidence=hit.confidence,
        location=location,
        start=hit.start,
        end=hit.end,
        detector=hit.detector,
        verdict=decision.verdict,
        rule=decision.rule,
    )


def kept(found: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return the worst ``MAX_FINDINGS`` findings, in their order."""
    if len(found) <= MAX_FINDINGS:
        return tuple(found)
    ranked = sorted(found, key=lambda f: (-ORDER[f.verdict], _WORST[f.severity], -f.confidence))
    chosen = {id(f) for f in ranked[:MAX_FINDINGS]}
    return tuple(f for f in found if id(f) in chosen)
