"""The policy: an ordered table; the first row that fits a finding decides about it."""

import difflib
import fnmatch
import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

import yaml

from llmtrace.analyzers.base import Direction, Hit
from llmtrace.config.detection import PiiConfig, PolicyConfig, PolicyRule
from llmtrace.domain.findings import Severity, Verdict
from llmtrace.domain.parts import Origin, Role

MEMORY: Final = 4096
"""Decisions that are remembered; then all are forgotten."""
RANK: Final[Mapping[str, int]] = {level.value: rank for rank, level in enumerate(Severity)}
"""How severe: 0 is the worst."""

type _Question = tuple[str, str, float, Role, Origin, Direction, str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where something was found, as far as a policy asks."""

    role: Role
    origin: Origin = Origin.TRUSTED
    direction: Direction = Direction.REQUEST
    provider: str = ""
    tenant: str = ""
    agent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What becomes of a finding, and which row says so.

    ``silent``: it is done without a word, and the finding counts as ``info``.
    """

    verdict: Verdict
    rule: str
    silent: bool = False

    @property
    def acts(self) -> bool:
        """Whether it does more than to record."""
        return self.verdict not in (Verdict.ALLOW, Verdict.FLAG)


NOTHING_FITS: Final = Decision(verdict=Verdict.ALLOW, rule="default")


class BadPolicy(ValueError):
    """A policy that speaks of something that does not exist. Names its key."""


@dataclass(frozen=True, slots=True)
class _Row:
    rule: PolicyRule
    decision: Decision
    kinds: re.Pattern[str]
    severity: int
    providers: re.Pattern[str]
    tenants: re.Pattern[str]
    agents: re.Pattern[str]

    @classmethod
    def of(cls, rule: PolicyRule, *, silent: bool) -> "_Row":
        decision = Decision(verdict=Verdict(rule.verdict), rule=rule.name, silent=silent)
        globs = (rule.providers or ["*"], rule.tenants or ["*"], rule.agents or ["*"])
        return cls(rule, decision, _any(rule.kinds), RANK[rule.severity], *map(_any, globs))

    def fits(self, hit: Hit, place: Place) -> bool:
        rule = self.rule
        return (
            RANK[hit.severity.value] <= self.severity
            and hit.confidence >= rule.confidence
            and (not rule.roles or place.role.value in rule.roles)
            and (not rule.origins or place.origin.value in rule.origins)
            and (not rule.directions or place.direction.value in rule.directions)
            and self.kinds.fullmatch(hit.kind) is not None
            and self.providers.fullmatch(place.provider) is not None
            and self.tenants.fullmatch(place.tenant) is not None
            and self.agents.fullmatch(place.agent) is not None
        )


class PolicyTable:
    """The rows of one configuration. Safe to share between threads."""

    def __init__(self, rules: Iterable[tuple[PolicyRule, bool]]) -> None:
        """Take rows, each with whether what it does is silent."""
        self._rows = [_Row.of(rule, silent=silent) for rule, silent in rules]
        self._known: dict[_Question, Decision] = {}

    def decide(self, hit: Hit, place: Place) -> Decision:
        """Return the decision of the first row that fits; ``allow`` if none does."""
        key = (
            hit.kind, hit.severity.value, hit.confidence,
            place.role, place.origin, place.direction, place.provider, place.tenant, place.agent,
        )  # fmt: skip
        known = self._known.get(key)
        if known is None:
            fitting = (row.decision for row in self._rows if row.fits(hit, place))
            known = next(fitting, NOTHING_FITS)
            if len(self._known) >= MEMORY:  # who names tenants and agents may be hostile
                self._known.clear()
            self._known[key] = known
        return known

    @property
    def rows(self) -> Sequence[PolicyRule]:
        """The effective rows, in order."""
        return [row.rule for row in self._rows]

    @property
    def version(self) -> str:
        """Changes with any row, and with their order."""
        rows = [[row.rule.model_dump(mode="json"), row.decision.silent] for row in self._rows]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


def compile_policy(policy: PolicyConfig, pii: PiiConfig, kinds: Iterable[str]) -> PolicyTable:
    """Return the table of a configuration: its own rows, then those of ``pii``, then the preset's.

    Args:
        policy: Its rules and preset.
        pii: What is to become of personal data, where the rules say nothing.
        kinds: All kinds of findings that there are.

    Raises:
        BadPolicy: A row speaks of a kind that does not exist, or two have one name.
    """
    known = list(kinds)
    for key, globs in _named_kinds(policy, pii):
        for glob in globs:
            if not fnmatch.filter(known, glob):
                raise BadPolicy(_unknown_kind(key, glob, known))
    silent = pii.action == "redact_silent"
    own = [
        rule if rule.name else rule.model_copy(update={"name": f"policy.rules[{index}]"})
        for index, rule in enumerate(policy.rules)
    ]
    later = [*_personal(pii), *presets()[policy.preset]]
    _require_names(own, {rule.name for rule in later})
    return PolicyTable((rule, silent and rule.name == PII_ACTION) for rule in (*own, *later))


@cache
def presets() -> Mapping[str, Sequence[PolicyRule]]:
    """Return the shipped presets by name."""
    text = (files("llmtrace.policy") / "presets.yaml").read_text(encoding="utf-8")
    rows: dict[str, list[object]] = yaml.safe_load(text)
    return {name: [PolicyRule.model_validate(row) for row in rules] for name, rules in rows.items()}


PII_ACTION: Final = "pii.action"
_ACTIONS: Final[Mapping[str, Verdict]] = {
    "alert_only": Verdict.FLAG,
    "alert_and_redact": Verdict.REDACT,
    "redact_silent": Verdict.REDACT,
}


def _personal(pii: PiiConfig) -> Iterator[PolicyRule]:
    if pii.ignore:
        yield PolicyRule(name="pii.ignore", kinds=pii.ignore, verdict="allow")
    if pii.action:
        verdict = _ACTIONS[pii.action].value
        yield PolicyRule.model_validate(
            {"name": PII_ACTION, "kinds": pii.kinds, "severity": "low", "verdict": verdict}
        )


def _named_kinds(policy: PolicyConfig, pii: PiiConfig) -> Iterator[tuple[str, Sequence[str]]]:
    for index, rule in enumerate(policy.rules):
        yield f"policy.rules[{index}].kinds", rule.kinds
    yield "pii.kinds", pii.kinds
    yield "pii.ignore", pii.ignore


def _require_names(own: Sequence[PolicyRule], taken: Collection[str]) -> None:
    """Refuse a name that two rows have: a trace could not say which of them decided."""
    seen = set(taken)
    for index, rule in enumerate(own):
        if rule.name in seen:
            raise BadPolicy(
                f"policy.rules[{index}].name: {rule.name!r} is the name of another row, of yours "
                "or of the preset; give each its own"
            )
        seen.add(rule.name)


def _any(patterns: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns))


def _unknown_kind(key: str, glob: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(glob, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else "docs/detection.md lists them all"
    return f"{key}: {glob!r} is no kind of finding; {hint}"
