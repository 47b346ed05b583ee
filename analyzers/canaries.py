"""Finds the operator's planted tokens, plain or in the disguises that a model is asked for.

A canary stands in a system prompt and nowhere else: where it comes out, the prompt did. Every
disguise is worked out beforehand and looked for literally, so that a text costs one pass and no
guess has to be made about what is encoded in it.
"""

import codecs
import hashlib
import re
from base64 import b64encode
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from string import ascii_uppercase
from typing import Final

from llmtrace.analyzers.automata import Matcher, matcher
from llmtrace.analyzers.base import Context, Direction, Hit
from llmtrace.analyzers.kinds import kinds
from llmtrace.analyzers.normalize import fold
from llmtrace.domain.parts import Role

KIND: Final = "canary_leak"
LEAST: Final = 8
"""Shortest canary in code points: a shorter one turns up by chance."""
MOST: Final = 128
"""Longest canary in code points."""
MAX_CANARIES: Final = 64
MAX_HITS: Final = 1_000
"""Hits in one text; what is beyond them changes no verdict."""
_ENGINE: Final = "1"
_SMALL: Final = {ord(capital): capital.lower() for capital in ascii_uppercase}
_LEFT: Final = (0, 2, 3)
"""Base64 digits that also hold bits of what precedes, by how many bytes precede (modulo 3)."""
_RIGHT: Final = (0, 3, 2)
"""Base64 digits and padding that depend on what follows, by how many bytes are over."""


class CanaryAnalyzer:
    """Looks for planted tokens where they should not be. Immutable; safe between threads."""

    def __init__(self, canaries: Iterable[str], *, name: str = "canaries") -> None:
        """Work out the disguises.

        Raises:
            ValueError: A canary is too short or too long, or there are too many of them.
        """
        tokens = sorted({fold(token).text for token in islice(canaries, MAX_CANARIES + 1)})
        if len(tokens) > MAX_CANARIES:
            raise ValueError(f"more than {MAX_CANARIES} canaries; plant fewer")
        for token in tokens:
            if not (LEAST <= len(token) <= MOST and token.isascii() and token.isprintable()):
                raise ValueError(
                    f"a canary of {len(token)} characters; it must have {LEAST} to {MOST}, all "
                    "ASCII, since others turn up by chance or get lost. Plant another"
                )
        self._name = name
        self._ways = {
            shape.translate(_SMALL): way
            for token in reversed(tokens)
            for way, shape in disguises(token)
        }
        self._shapes = sorted(self._ways)
        self._firsts = frozenset(shape[0] for shape in self._shapes)
        self._longest = max(map(len, self._shapes), default=0)
        self._matcher = _any_of(self._shapes)
        self._version = _seal(tokens)

    @property
    def name(self) -> str:
        """Its key in the configuration, on metrics and in health."""
        return self._name

    @property
    def version(self) -> str:
        """A seal over the tokens; none of them can be told from it."""
        return self._version

    def analyze(self, text: str, context: Context) -> Sequence[Hit]:
        """Return the hits, ordered by start. System text, where canaries belong, has none."""
        planted = context.role is Role.SYSTEM and context.direction is Direction.REQUEST
        if planted or not self._shapes or not text:
            return ()
        folded = fold(text)
        data = folded.text.encode("utf-8", "replace")
        at = char = 0
        hits: list[Hit] = []
        for match in islice(self._matcher.finditer(data, 0), MAX_HITS):
            first, last = match.span()
            shape = data[first:last].decode()
            char += len(data[at:first].decode())
            start, end = folded.span(char, char + len(shape))
            hits.append(_hit(start, end, self._ways[shape.translate(_SMALL)]))
            at, char = last, char + len(shape)
        return hits

    def undecided(self, text: str) -> int:
        """Return where the undecided tail of ``text`` begins, ``len(text)`` if there is none."""
        folded = fold(text)
        floor = max(0, len(folded.text) - self._longest + 1)
        tail = folded.text[floor:].translate(_SMALL)
        for start, char in enumerate(tail):
            if char in self._firsts and self._begins(tail[start:]):
                return folded.cut(floor + start)
        return len(text)

    def _begins(self, tail: str) -> bool:
        """Whether some disguise begins with ``tail`` and goes on behind it."""
        at = bisect_left(self._shapes, tail)
        return any(
            shape.startswith(tail) and len(shape) > len(tail) for shape in self._shapes[at : at + 2]
        )


def disguises(token: str) -> Iterator[tuple[str, str]]:
    """Yield each disguise of a token with its name: plain, reversed, rot13, hex, base64.

    Base64 comes at its three alignments, without the digits that depend on the neighbours, so
    that it is found in whatever longer text was encoded; both alphabets (RFC 4648 §4 and §5).
    """
    data = token.encode("utf-8", "replace")
    yield "plain", token
    yield "reversed", token[::-1]
    yield "rot13", codecs.encode(token, "rot13")
    yield "hex", data.hex()
    yield "hex", data.hex(" ")
    for before in range(3):
        digits = b64encode(bytes(before) + data).decode()
        inner = digits[_LEFT[before] : len(digits) - _RIGHT[(before + len(data)) % 3]]
        yield "base64", inner
        yield "base64", inner.translate({ord("+"): "-", ord("/"): "_"})


def _any_of(shapes: Sequence[str]) -> Matcher:
    return matcher("(?i)(?:" + "|".join(map(re.escape, reversed(shapes))) + ")")


def _hit(start: int, end: int, way: str) -> Hit:
    return Hit(
        kind=KIND,
        severity=kinds()[KIND].severity,
        confidence=0.99,
        start=start,
        end=end,
        detector=f"canary.{way}",
        stable=True,
    )


def _seal(tokens: Iterable[str]) -> str:
    seal = hashlib.blake2b(_ENGINE.encode(), digest_size=12)
    for token in tokens:
        seal.update(hashlib.blake2b(token.encode("utf-8", "replace")).digest())
    return seal.hexdigest()
