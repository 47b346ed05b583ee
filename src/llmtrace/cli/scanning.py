"""Judges texts as the gateway would: what is found in them, and what the policy makes of it."""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from llmtrace.analyzers.actions import ActionAnalyzer, ToolUse
from llmtrace.analyzers.base import Analyzer, Context, Direction, Hit, Inspection
from llmtrace.analyzers.combined import inspection
from llmtrace.analyzers.ensemble import ATTACKS
from llmtrace.cli.scanpieces import inspect_whole
from llmtrace.cli.scantexts import Document, Piece
from llmtrace.domain.findings import Finding, Severity, Verdict
from llmtrace.domain.parts import ORIGIN_OF, Path, Role, location
from llmtrace.policy.masking import apply, one_way
from llmtrace.policy.table import Decision, Place
from llmtrace.providers.base import Json
from llmtrace.providers.called import Called
from llmtrace.providers.editing import EditFailed, edit

_ANSWERS: Final = frozenset({Role.ASSISTANT, Role.TOOL_CALL})
"""Roles whose words a model wrote."""
_NEWLINE: Final = re.compile("\n")
_MILDEST_FIRST: Final = tuple(Verdict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a document comes to.

    ``redacted`` is the whole document with the values that were found replaced, None where
    nobody asked, or where some may be left (``unmasked`` says why); of a line of JSONL it is its
    text.
    """

    document: Document
    findings: Sequence[Finding]
    skipped: Sequence[str] = ()
    """Rules that could not be taken to their end, and why."""
    attack: float = 0.0
    """How sure the model is of an attack, also where it is not sure enough for a finding."""
    redacted: str | None = None
    unmasked: str = ""

    @property
    def injection(self) -> float:
        """How sure it is, 0 to 1, that the document holds an attack on the model."""
        sure = (one.confidence for one in self.findings if one.kind in ATTACKS)
        return round(max((self.attack, *sure)), 4)

    @property
    def verdict(self) -> Verdict:
        """The worst of all findings."""
        ranks = (_MILDEST_FIRST.index(one.verdict) for one in self.findings)
        return _MILDEST_FIRST[max(ranks, default=0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """Where in its file a finding stands; lines and columns from 1.

    Columns are 0 where the file's text is not the one that was scanned: in a line of JSONL, or
    in a transcript.
    """

    line: int
    column: int = 0
    end_line: int = 0
    end_column: int = 0


class Spots:
    """Finds the lines and columns of a document's findings."""

    def __init__(self, document: Document) -> None:
        self._line = max(1, document.line)
        self._starts: list[int] = []
        if document.line == 0 and document.body is None:
            text = "".join(piece.text for piece in document.pieces)
            self._starts = [0, *(match.end() for match in _NEWLINE.finditer(text))]

    def of(self, finding: Finding) -> Spot:
        """Return where a finding stands."""
        if not self._starts:
            return Spot(line=self._line)
        line, column = self._position(finding.start)
        end_line, end_column = self._position(finding.end)
        return Spot(line=line, column=column, end_line=end_line, end_column=end_column)

    def _position(self, index: int) -> tuple[int, int]:
        line = bisect_right(self._starts, index)
        return line, index - self._starts[line - 1] + 1


class Scanner:
    """Analyses documents one after the other, and decides by the policy."""

    def __init__(
        self,
        analyzer: Analyzer,
        decide: Callable[[Hit, Place], Decision],
        actions: ActionAnalyzer | None = None,
    ) -> None:
        """Take what looks into texts, the policy, and what looks into tool calls."""
        self._analyzer = analyzer
        self._decide = decide
        self._actions = actions

    def scan(self, document: Document, *, redact: bool = False) -> Result:
        """Judge a document."""
        inspect = inspect_whole if redact else inspection
        made = [inspect(self._analyzer, one.text, _context(one)) for one in document.pieces]
        seen = [(piece, one.hits) for piece, one in zip(document.pieces, made, strict=True)]
        called = [pair for call in document.calls for pair in self._deeds(call)]
        done = [(piece, one.hits) for piece, one in called]
        redacted, unmasked = None, ""
        if redact:
            redacted, unmasked = _redacted(document, seen, _told(made))
        return Result(
            document=document,
            findings=[self._finding(piece, hit) for piece, hits in (*seen, *done) for hit in hits],
            skipped=_told([*made, *(one for _, one in called)]),
            attack=max((one.attack for one in made), default=0.0),
            redacted=redacted,
            unmasked=unmasked,
        )

    def _deeds(self, call: Called) -> Iterator[tuple[Piece, Inspection]]:
        """Yield what a tool call does, where that is looked into."""
        if self._actions is None:
            return
        piece = Piece(
            text=call.arguments,
            role=Role.TOOL_CALL,
            origin=ORIGIN_OF[Role.TOOL_CALL],
            location=location(call.path),
            path=call.path,
        )
        use = ToolUse(name=call.name, arguments=call.arguments)
        yield piece, self._actions.inspect_tool(use)

    def _finding(self, piece: Piece, hit: Hit) -> Finding:
        context = _context(piece)
        place = Place(role=context.role, origin=context.origin, direction=context.direction)
        decision = self._decide(hit, place)
        return Finding(
            kind=hit.kind,
            severity=Severity.INFO if decision.silent else hit.severity,
            confidence=hit.confidence,
            location=piece.location,
            start=hit.start,
            end=hit.end,
            detector=hit.detector,
            verdict=decision.verdict,
            rule=decision.rule,
        )


def _told(made: Iterable[Inspection]) -> list[str]:
    return sorted({f"{skip.detector} ({skip.reason})" for one in made for skip in one.skipped})


def _context(piece: Piece) -> Context:
    direction = Direction.ANSWER if piece.role in _ANSWERS else Direction.REQUEST
    return Context(role=piece.role, origin=piece.origin, direction=direction)


def _redacted(
    document: Document, seen: Sequence[tuple[Piece, Sequence[Hit]]], skipped: Sequence[str]
) -> tuple[str | None, str]:
    """Return a document with its values masked; else None, and why some may be left in it."""
    if skipped:
        return None, f"not looked through for {', '.join(skipped)}; cut it into several"
    masked = [(piece, _masked(piece.text, hits)) for piece, hits in seen]
    if document.body is None:
        return "".join(text for _, text in masked), ""
    changed = [(piece, text) for piece, text in masked if text != piece.text]
    edits: dict[Path, Json] = {piece.path: text for piece, text in changed}
    try:
        read = {piece.path: piece.text for piece, _ in changed}
        if len(edits) < len(changed):
            raise EditFailed("two values stand at one place")
        return edit(document.body, edits, expected=read).decode(), ""
    except EditFailed as error:
        return None, f"a value cannot be masked where it stands: {error}"


def _masked(text: str, hits: Sequence[Hit]) -> str:
    values = [(hit.start, hit.end, one_way(hit.kind)) for hit in hits if hit.value]
    return apply(text, values) if values else text
