"""What stands for a value while it is hidden, and how it is known again.

A placeholder is one word of letters and underscores: ``LLMT_EMAIL_`` and sixteen consonants. So it
comes through prose, JSON, code, shells and addresses as it is, and says to the model what kind of
thing it stands for. Without digits and vowels it is never itself a finding, nor a word. Models that
change its case, or escape its underscores for Markdown, do not keep it from being known.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable
from typing import Final, Protocol

import regex

from llmtrace.analyzers.kinds import kinds
from llmtrace.policy.masking import one_way

MARK: Final = "LLMT_"
LETTERS: Final = "BCDFGHJKLMNPQRSTVWXZ"
TAG_CHARS: Final = 14
"""60 bits: of a million values of one tenant, two share a tag once in two million."""
CHECK_CHARS: Final = 2
"""They keep what a stranger made up from being looked for: all but one in 400."""
MAX_NAME: Final = 18
MAX_LENGTH: Final = len(MARK) + MAX_NAME + 1 + TAG_CHARS + CHECK_CHARS
"""Code points of the longest placeholder: 40."""
MAX_NAMES: Final = 3
MAX_WRITTEN: Final = 6 + MAX_NAMES * (MAX_NAME + 2) + TAG_CHARS + CHECK_CHARS
"""Code points of the longest that is looked for: with names of any kind, underscores escaped."""

# The fewest names: what is a placeholder so far is one whatever follows.
_PATTERN: Final = (
    rf"LLMT\\?_(?:[A-Z]{{1,{MAX_NAME}}}\\?_){{1,{MAX_NAMES}}}?"
    rf"[{LETTERS}]{{{TAG_CHARS + CHECK_CHARS}}}"
)
PLACEHOLDER: Final = re.compile(_PATTERN, re.IGNORECASE | re.ASCII)
_BEGUN: Final = regex.compile(_PATTERN, regex.IGNORECASE | regex.ASCII)
LONGEST_LOOKED_AT: Final = 4096
"""A longer span is no hidden value, nor some of them beside each other."""
_LABELS: Final = "|".join(sorted({re.escape(one_way(kind)) for kind in kinds()}))
_HIDDEN: Final = re.compile(rf"(?:{_PATTERN}|{_LABELS})", re.IGNORECASE | re.ASCII)
_VALUES: Final = ("pii.", "secret.")
_SAYS_SOMETHING: Final = re.compile(r"\w")


class Span(Protocol):
    """Something that was seen in a text, as a hit is."""

    @property
    def kind(self) -> str:
        """What it is."""
        ...

    @property
    def start(self) -> int:
        """Where it starts, in code points."""
        ...

    @property
    def end(self) -> int:
        """Where it ends."""
        ...


def placeholder(key: bytes, kind: str, value: str) -> str:
    """Return what stands for a value under a key: the same for the same kind and value."""
    name = re.sub(r"[^A-Z]+", "_", kind.rpartition(".")[2].upper())[:MAX_NAME].strip("_")
    tag = _letters(key, b"tag\0" + value.encode("utf-8", "surrogatepass"), TAG_CHARS)
    return f"{MARK}{name or 'VALUE'}_{tag}{_check(key, tag)}"


def canonical(written: str) -> str:
    """Return a placeholder as it was made, whatever a model did to case and underscores."""
    return written.replace("\\", "").upper()


def tag_of(written: str) -> str:
    """Return the letters that tell a placeholder from all others."""
    return canonical(written)[-TAG_CHARS - CHECK_CHARS :]


def is_genuine(key: bytes, written: str) -> bool:
    """Whether a placeholder can have been made under this key."""
    tag = tag_of(written)
    check = _check(key, tag[:TAG_CHARS])
    return hmac.compare_digest(tag[TAG_CHARS:].encode(), check.encode())


def is_masked(text: str) -> bool:
    """Whether a text is hidden already: a placeholder, and no word beside it."""
    rest = _HIDDEN.sub("", text)
    return len(rest) < len(text) and _SAYS_SOMETHING.search(rest) is None


def unmasked[S: Span](text: str, spans: Iterable[S]) -> list[S]:
    """Leave out values that were seen in what is hidden already: nothing is hidden twice.

    Anything else stays: an order does not become a value because it is written like one.
    """
    return [
        span for span in spans if not (span.kind.startswith(_VALUES) and _is_hidden(text, span))
    ]


def _is_hidden(text: str, span: Span) -> bool:
    """Look around a span alone: to search a long text holds up everybody else."""
    if span.end - span.start > LONGEST_LOOKED_AT:
        return False
    low, high = max(0, span.start - MAX_WRITTEN), span.end + MAX_WRITTEN
    around = text[low:high]
    for match in _HIDDEN.finditer(around):
        if match.start() + low <= span.start and span.end <= match.end() + low:
            return True
    return is_masked(text[span.start : span.end])


def undecided(text: str) -> int:
    """Return where a placeholder begins that more text could complete, else the text's length."""
    at = max(0, len(text) - MAX_WRITTEN)
    while found := _BEGUN.search(text, at, partial=True):
        if found.partial:
            return found.start()
        at = found.end()
    return len(text)


def _check(key: bytes, tag: str) -> str:
    return _letters(key, b"check\0" + tag.encode(), CHECK_CHARS)


def _letters(key: bytes, message: bytes, count: int) -> str:
    number = int.from_bytes(hmac.digest(key, message, hashlib.sha256))
    letters = []
    for _ in range(count):
        number, rest = divmod(number, len(LETTERS))
        letters.append(LETTERS[rest])
    return "".join(letters)
