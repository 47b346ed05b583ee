"""What of a request's parts shows only together with what stands around them.

A value is known by the name of the member that holds it, or by what it was called in another part;
an order may be cut over the blocks of one tool's result. Each gives hits in single parts, as if a
detector had seen them there.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, islice
from typing import Final, NamedTuple

from llmtrace.analyzers.base import Analyzer, Context, Direction, Hit, Inspection, Skipped
from llmtrace.analyzers.combined import inspection
from llmtrace.domain.findings import Severity
from llmtrace.domain.parts import Part, Role
from llmtrace.domain.values import dataclass

NEAR: Final = 512
"""Characters on each side of where two blocks meet that are read together."""
MAX_RUN: Final = 65_536
"""Characters of blocks that are read together at once."""
LONGEST_NAMED: Final = 512
MAX_VALUES: Final = 256
"""Values of one request that are looked for again."""
MAX_AGAIN: Final = 10_000
"""Places of such values in one part."""
SHORTEST: Final = 8
LONGEST: Final = 512
WINDOW: Final = 65_536
"""Characters that are searched at a time: one search holds the interpreter to its end."""
AGAIN: Final = "~again"
NAMED: Final = "~named"
SEAM: Final = "~seam"
_LEFT_OUT: Final = Skipped("again", "too_many")
_SEP: Final = " "
_STRUCTURED: Final = frozenset({Role.TOOL_CALL, Role.TOOL_RESULT})
_CUE: Final = re.compile(
    r"pass|pwd|secret|token|key|cred|auth|bearer|cookie|session|signature|"
    r"ssn|social|sin\b|nhs|nino|insurance|birth|dob|geb|passport|licen[cs]e|tax|tin\b|tfn|nif|dni|"
    r"nie\b|bsn|pesel|cpr|iban|account|acct|card|cvv|pin\b|national|identi|phone|mobile|tel|fax",
    re.IGNORECASE,
)
"""Names of members beside which a value may be one that has no form of its own."""


_NOTHING: Final = Inspection(())


def named(part: Part, analyzer: Analyzer) -> Inspection:
    """Return the values that a part is for the name of the member that it stands at."""
    name = part.path[-1] if part.path else None
    if (
        not isinstance(name, str)
        or part.role not in _STRUCTURED
        or not 0 < len(part.text) <= LONGEST_NAMED
        or part.text == name
        or not _CUE.search(name)
    ):
        return _NOTHING
    before = f'"{name[:64]}": "'
    context = Context(part.role, part.origin, Direction.REQUEST)
    made = inspection(analyzer, f'{before}{part.text}"', context)
    hits = [
        _at(hit, hit.start - len(before), hit.end - len(before), NAMED)
        for hit in made.hits
        if hit.value and len(before) <= hit.start < hit.end <= len(before) + len(part.text)
    ]
    return Inspection(hits, made.skipped)


class _Piece(NamedTuple):
    """A stretch of a part."""

    part: int
    start: int
    text: str


def seams(parts: Sequence[Part], analyzer: Analyzer) -> dict[int, Inspection]:
    """Return what stands across the blocks of one tool's result, by each block that it touches.

    What was left out is told with the first of the blocks that were read together.
    """
    found: dict[int, Inspection] = {}
    for run in _runs(parts):
        for pieces in _segments(run, parts):
            for number, made in _across(pieces, parts, analyzer):
                found[number] = joined(found.get(number, _NOTHING), made)
    return found


def joined(one: Inspection, more: Inspection) -> Inspection:
    """Return what both say of one text."""
    if not (more.hits or more.skipped):
        return one
    hits = sorted((*one.hits, *more.hits), key=lambda hit: (hit.start, -hit.end))
    return Inspection(hits, (*one.skipped, *more.skipped), one.attack)


def _runs(parts: Sequence[Part]) -> Iterator[list[int]]:
    """Go through the parts that are texts of one list, two at least."""
    run: list[int] = []
    for number, part in enumerate(parts):
        if run and _follows(parts[run[-1]], part):
            run.append(number)
            continue
        if len(run) > 1:
            yield run
        run = [number] if part.role in _STRUCTURED and len(part.path) > 1 else []
    if len(run) > 1:
        yield run


def _follows(one: Part, other: Part) -> bool:
    """Whether two parts are texts of blocks of one list."""
    if (one.role, one.origin) != (other.role, other.origin):
        return False
    (*to, first, last), (*also_to, second, also_last) = one.path, other.path
    if to != also_to or not last == also_last == "text":
        return False
    return isinstance(first, int) and isinstance(second, int) and second > first


def _segments(run: Iterable[int], parts: Sequence[Part]) -> Iterator[list[_Piece]]:
    """Go through what is read together: short blocks whole, of long ones the ends."""
    pieces: list[_Piece] = []
    size = 0
    for number in run:
        text = parts[number].text
        if len(text) > 2 * NEAR:
            yield [*pieces, _Piece(number, 0, text[:NEAR])]
            pieces, size = [_Piece(number, len(text) - NEAR, text[-NEAR:])], NEAR
            continue
        if size > MAX_RUN:
            yield pieces
            pieces, size = pieces[-1:], 0
        pieces.append(_Piece(number, 0, text))
        size += len(text)
    yield pieces


def _across(
    pieces: Sequence[_Piece], parts: Sequence[Part], analyzer: Analyzer
) -> Iterator[tuple[int, Inspection]]:
    if len(pieces) < 2:
        return
    role, origin = parts[pieces[0].part].role, parts[pieces[0].part].origin
    text = _SEP.join(piece.text for piece in pieces)
    made = inspection(analyzer, text, Context(role, origin, Direction.REQUEST))
    yield pieces[0].part, Inspection((), made.skipped)
    for hit in made.hits:
        touched = list(_touched(pieces, hit))
        if len(touched) > 1:
            yield from ((number, Inspection([part])) for number, part in touched)


def _touched(pieces: Sequence[_Piece], hit: Hit) -> Iterator[tuple[int, Hit]]:
    begin = 0
    for piece in pieces:
        low, high = max(hit.start, begin), min(hit.end, begin + len(piece.text))
        if low < high:
            shift = piece.start - begin
            yield piece.part, _at(hit, low + shift, high + shift, SEAM)
        begin += len(piece.text) + len(_SEP)


@dataclass(frozen=True, slots=True)
class Values:
    """Values that a request holds, each with the hit that told it.

    ``is_whole`` is false where it holds more of them.
    """

    by_text: Mapping[str, Hit]
    is_whole: bool = True

    def again(self, part: Part, known: Sequence[Hit]) -> Inspection:
        """Return the places of a part where one stands that was not seen there."""
        places = list(islice(self._places(part.text), MAX_AGAIN + 1))
        others = not self.is_whole and len(part.text) >= SHORTEST
        left_out = (_LEFT_OUT,) if others or len(places) > MAX_AGAIN else ()
        covered = _Covered(hit for hit in known if hit.value)
        hits = [
            _at(self.by_text[part.text[start:end]], start, end, AGAIN)
            for start, end in places[:MAX_AGAIN]
            if not covered.holds(start, end)
        ]
        return Inspection(hits, left_out)

    def _places(self, text: str) -> Iterator[tuple[int, int]]:
        here = [value for value in self.by_text if value in text]
        if not here:
            return
        ordered = sorted(here, key=len, reverse=True)
        anywhere = re.compile(
            rf"(?<![A-Za-z0-9])(?:{'|'.join(map(re.escape, ordered))})(?![A-Za-z0-9])"
        )
        for found in _in_windows(anywhere, text):
            yield found.span()


class _Covered:
    """Stretches of a text, which may overlap."""

    def __init__(self, hits: Iterable[Hit]) -> None:
        spans = sorted((hit.start, hit.end) for hit in hits)
        self._starts = [start for start, _ in spans]
        self._reach = list(accumulate((end for _, end in spans), max))

    def holds(self, start: int, end: int) -> bool:
        """Whether one of them has all of ``start:end``."""
        number = bisect_right(self._starts, start) - 1
        return number >= 0 and self._reach[number] >= end


def _in_windows(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """Go through what a pattern finds that is no longer than ``LONGEST``, as ``finditer`` does."""
    at = 0
    for low in range(0, len(text), WINDOW):
        high = low + WINDOW
        # What begins before the window's end is seen to its end, and the character after it.
        for found in pattern.finditer(text, max(low, at), high + LONGEST + 1):
            if found.start() >= high:
                break
            at = found.end()
            yield found


def is_telling(hit: Hit, text: str) -> bool:
    """Whether a value is so much of its own that it is one wherever it stands."""
    if not hit.value or hit.severity is Severity.INFO:
        return False
    if not SHORTEST <= len(text) <= LONGEST or not hit.kind.startswith(("pii.", "secret.")):
        return False
    has_digit = any(char.isdigit() for char in text)
    return has_digit or (hit.kind.startswith("secret.") and not text.isalpha())


def _at(hit: Hit, start: int, end: int, how: str) -> Hit:
    return replace(hit, start=start, end=end, detector=f"{hit.detector}{how}", stable=False)
