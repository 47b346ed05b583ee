"""What a detector saw, and what the policy makes of it."""

from enum import StrEnum

from llmtrace.domain.values import dataclass


class Severity(StrEnum):
    """How bad it is if it is real, worst first."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    INFO = "info"


class Verdict(StrEnum):
    """What becomes of a call, mildest first."""

    ALLOW = "allow"
    FLAG = "flag"
    REDACT = "redact"
    QUARANTINE = "quarantine"
    BLOCK = "block"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing a detector saw in one part or channel. Never a copy of what it found.

    ``start`` and ``end`` count code points of the text at ``location``, half-open as in
    slicing. ``confidence`` is the probability, 0 to 1, that the finding is real. ``detector`` is
    the id of what saw it, ``verdict`` what the policy made of it, by its rule ``rule``.
    """

    kind: str
    severity: Severity
    confidence: float
    location: str
    start: int
    end: int
    detector: str
    verdict: Verdict = Verdict.ALLOW
    rule: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise ValueError(f"empty or negative span {self.start}:{self.end} for {self.kind!r}")
        if not 0.0 <= self.confidence <= 1.0:
            raise ValueError(f"confidence {self.confidence} of {self.kind!r} is not within 0..1")
