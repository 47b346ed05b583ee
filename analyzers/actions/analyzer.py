"""The analyzer of what agents do: hits in the arguments of a tool call."""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Final

from llmtrace.analyzers.actions.budget import Budget
from llmtrace.analyzers.actions.commands import Judge
from llmtrace.analyzers.actions.paths import outside, sensitive
from llmtrace.analyzers.actions.rules import rules
from llmtrace.analyzers.actions.tools import MAX_CHARS, clean, deeds, short_name
from llmtrace.analyzers.actions.urls import rules_of, urls_in
from llmtrace.analyzers.actions.values import Access, Deed, DeedKind, Sighting, ToolUse
from llmtrace.analyzers.base import Hit, Inspection, Skipped
from llmtrace.domain.findings import Severity

VERSION: Final = "1"
MAX_HITS: Final = 256
_UNREAD: Final = Skipped(
    "actions",
    "too_many",
    Hit(
        kind="dangerous_command",
        severity=Severity.CRITICAL,
        confidence=1.0,
        start=0,
        end=0,
        detector="actions",
    ),
)
"""What is told of a tool call that is too much to look at: anything may be in it."""


class ActionAnalyzer:
    """Finds dangerous commands, addresses and files in tool calls, and tools that are not allowed.

    ``allowed_tools`` (None allows all) and ``denied_tools`` are names with wildcards, compared
    without case; a tool that is on both lists is denied. ``workspace`` are the folders in which
    an agent may write; without any, writing is nowhere outside.
    """

    name = "actions"

    def __init__(
        self,
        *,
        allowed_tools: Sequence[str] | None = None,
        denied_tools: Sequence[str] = (),
        workspace: Sequence[str] = (),
    ) -> None:
        self._allowed = None if allowed_tools is None else _globs(allowed_tools)
        self._denied = _globs(denied_tools)
        self._workspace = tuple(workspace)
        self.version = f"{VERSION}:{self._allowed}:{self._denied}:{self._workspace}"
        rules()  # what is wrong with the tables is to show when it is built

    def analyze_tool(self, use: ToolUse) -> Sequence[Hit]:
        """Return the hits in a tool call, ordered by start. Offsets are those of its arguments.

        Of arguments longer than ``MAX_CHARS`` the rest is not read, and a hit says so.
        """
        return self.inspect_tool(use).hits

    def inspect_tool(self, use: ToolUse) -> Inspection:
        """Return the hits in a tool call, and whether something in it was not looked at."""
        kept = clean(use)
        budget = Budget(cut=len(use.arguments) > MAX_CHARS)
        seen: dict[tuple[str, int, int], Hit] = {}
        for sighting in self._sightings(kept, budget):
            hit = _hit(sighting)
            seen.setdefault((hit.detector, hit.start, hit.end), hit)
            if len(seen) >= MAX_HITS:
                budget.cut = True
                break
        hits = sorted(seen.values(), key=lambda hit: (hit.start, hit.end, hit.detector))
        return Inspection(hits, (_UNREAD,) if budget.cut else ())

    def allows(self, name: str) -> bool:
        """Whether a tool may be called."""
        names = (name[:256].lower(), short_name(name))
        if any(fnmatchcase(one, glob) for glob in self._denied for one in names):
            return False
        return self._allowed is None or any(fnmatchcase(names[0], glob) for glob in self._allowed)

    def _sightings(self, use: ToolUse, budget: Budget) -> Iterator[Sighting]:
        whole = (0, max(1, len(use.arguments)))
        if not self.allows(use.name):
            yield Sighting("tool.not_allowed", *whole)
        done = deeds(use, budget)
        if budget.cut:
            yield Sighting("limit.size", whole[1] - 1, whole[1])
        for deed in done:
            for seen in self._of_deed(deed, budget):
                yield _placed(seen, deed)

    def _of_deed(self, deed: Deed, budget: Budget) -> Iterator[Sighting]:
        if deed.kind is DeedKind.COMMAND:
            yield from Judge(self._workspace, budget).command(deed.text, windows=deed.windows)
        elif deed.kind is DeedKind.CODE:
            yield from Judge(self._workspace, budget).code(deed.text)
        elif deed.kind is DeedKind.FILE:
            yield from self._of_file(deed)
        elif deed.kind is DeedKind.URL:
            yield from (Sighting(rule, 0, len(deed.text)) for rule in rules_of(deed.text))
        elif deed.kind is DeedKind.TEXT:
            for url, start, end in urls_in(deed.text):
                yield from (Sighting(rule, start, end) for rule in rules_of(url))

    def _of_file(self, deed: Deed) -> Iterator[Sighting]:
        size = len(deed.text)
        for rule, severity in sensitive(deed.text, deed.access):
            yield Sighting(rule, 0, size, severity)
        writes = deed.access is Access.WRITE and self._workspace
        if writes and outside(deed.text, self._workspace):
            yield Sighting("workspace.outside", 0, size)


def _globs(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name.lower() for name in names)


def _placed(seen: Sighting, deed: Deed) -> Sighting:
    """Return a sighting in a deed's text as one in the arguments."""
    if not deed.exact:
        return Sighting(seen.rule, deed.start, deed.end, seen.severity)
    start = min(deed.start + seen.start, deed.end - 1)
    end = max(min(deed.start + seen.end, deed.end), start + 1)
    return Sighting(seen.rule, start, end, seen.severity)


def _hit(seen: Sighting) -> Hit:
    rule = rules().by_id[seen.rule]
    return Hit(
        kind=rule.kind,
        severity=seen.severity or rule.severity,
        confidence=rule.confidence,
        start=seen.start,
        end=seen.end,
        detector=f"actions.{rule.id}",
    )
