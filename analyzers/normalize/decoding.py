"""Reads what is written in another way: base64, hexadecimal, URL-, HTML- and string escapes.

Bounded: ``MAX_DEPTH`` writings within each other, ``MAX_DECODED`` bytes of them all.
"""

import base64
import html
import re
from binascii import Error, unhexlify
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from llmtrace.analyzers.automata import Matcher, matcher
from llmtrace.analyzers.normalize.escapes import COLOUR, uncoloured, within_word
from llmtrace.analyzers.normalize.folding import fold
from llmtrace.analyzers.normalize.view import Piece, Seen, View, joined, replaced

MAX_DEPTH: Final = 2
MAX_DECODED: Final = 65_536
"""Code points of decoded text in all views of one text."""
MAX_RUNS: Final = 2_000
"""Encoded runs that are tried in one text."""
MAX_PLAIN: Final = 50_000
"""Runs of a terminal's colours, or of odd separators, that are read in one text."""
SHORTEST: Final = 8
"""Decoded text below this length says nothing."""
COLOURS: Final = "colours"
_WIDE: Final = rb"[\xe3-\xed\xef][\x80-\xbf]{2}|[\xd0\xd1][\x80-\xbf]"
"""UTF-8 of what stands in a book in East Asia, and of a Cyrillic letter."""
_READABLE: Final = re.compile(
    rb"[\x20-\x7e\t\n\r]{16,}|(?:" + _WIDE + rb")(?:[\x20-\x7e\t\n\r]*+(?:" + _WIDE + rb")){4,}"
)
_TEXTUAL: Final = bytes(range(0x20, 0x7F)) + b"\t\n\r"


@dataclass(frozen=True, slots=True)
class Encoding:
    """A way of writing: how to see that text is written so, and how to read it.

    What stands alone (base64) is read by itself; the other (an escape) within its sentence.
    ``cue`` matches where ``run`` does, with fewer states. What is ``plain`` hides nothing deeper,
    and may stand on each line: it has a bound of its own, ``MAX_PLAIN``.
    """

    name: str
    run: str
    read: Callable[[str], str]
    alone: bool = False
    cue: str = ""
    plain: bool = False

    @classmethod
    def base64(cls, core: str) -> "Encoding":
        """Take letters of which a run of base64 has some, at its start or a multiple of four on."""
        run = (
            rf"(?:[A-Za-z0-9+/_-]{{4}})*?(?:{core})[A-Za-z0-9+/_-]*"
            r"(?:\r?\n[A-Za-z0-9+/_-]{4,})*={0,2}"
        )
        return cls("base64", run, _base64, alone=True, cue=core)


@dataclass(slots=True)
class Allowance:
    """What may still be decoded for one text. ``spent`` says that something was left out."""

    chars: int = MAX_DECODED
    runs: int = MAX_RUNS
    spent: bool = False


def _base64(run: str) -> str:
    letters = re.sub(r"\s+", "", run).rstrip("=").replace("-", "+").replace("_", "/")
    return _readable(_bytes(letters))


def _bytes(letters: str) -> bytes:
    letters = letters[: len(letters) - (len(letters) % 4 == 1)]
    try:
        return base64.b64decode(letters + "=" * (-len(letters) % 4))
    except Error:
        return b""


def _hexadecimal(run: str) -> str:
    digits = re.sub(r"0[xX]|[\s:,\\xX]", "", run)
    return _readable(unhexlify(digits[: len(digits) & ~1]))


def _readable(data: bytes) -> str:
    """Return the text in some bytes, empty where there is none."""
    if len(data.translate(None, _TEXTUAL)) * 5 <= len(data):
        return data.decode(errors="replace")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return "\n".join(part.decode(errors="replace") for part in _READABLE.findall(data))
    readable = sum(char.isprintable() or char.isspace() for char in text)
    return text if readable * 5 >= len(text) * 4 else ""


def _escapes(run: str) -> str:
    return _ESCAPE.sub(lambda m: _char(int(m[1] or m[2] or m[3], 16)), run)


def _char(point: int) -> str:
    return chr(point) if point <= 0x10FFFF else "\ufffd"


_ASCII_IN_BASE64: Final = (
    r"(?:[A-Za-f][A-HQ-Xg-nw-z0-3][ABEFIJMNQRUVYZcdghklopstwx014589][A-Za-z0-9+/_-]){5,}"
)
"""Four letters whose three bytes have no high bit: one in eight of any four, all of ASCII text."""
_ESCAPE: Final = re.compile(r"\\+(?:u([0-9A-Fa-f]{4})|u\{([0-9A-Fa-f]{1,6})\}|x([0-9A-Fa-f]{2}))")
_ESCAPED: Final = r"(?:\\+(?:u[0-9A-Fa-f]{4}|u\{[0-9A-Fa-f]{1,6}\}|x[0-9A-Fa-f]{2}))+"
"""A backslash before the first is an escape of it, and goes with it when it is cut out."""
_CYRILLIC_IN_BASE64: Final = r"0[I-LY-b][DHLPTXbfjnrvz37/_][QR][g-v][Ndt9][CG][A-Za-z0-9+/_-]"
"""Eight letters whose six bytes are letters of two: one in a hundred million."""
_WIDE_IN_BASE64: Final = (
    r"(?:[4-7][I-LY-bo-r4-7][CGKOSWaeimquy26_+-][A-Za-z0-9+/_-]){4,}"
    r"|(?:[g-v][Oeu_+-][OSWaeimquy2][A-Za-z0-9+/_-]){4,}"
    r"|(?:[g-v][I-LY-bo-r4-7][DHLPTXbfjnrvz37/_][j-t]){4,}"
)
"""Four letters for each letter of East Asia, whose three bytes begin at any of three places."""
_WIDE_IN_HEX: Final = (
    r"(?:(?:[Ee][3-9A-Da-dFf](?:[89ABab][0-9A-Fa-f]){2}){4}|(?:[Dd][01][89ABab][0-9A-Fa-f]){5})"
    r"(?:[0-9A-Fa-f]{2})*"
)
_ASCII_IN_HEX: Final = r"(?:(?:0[xX]|\\x)?(?:[2-7][0-9A-Fa-f]|0[9AaDd])[ :,]?){12,}"

ENCODINGS: Final[tuple[Encoding, ...]] = (
    Encoding.base64(_ASCII_IN_BASE64),
    Encoding("hex", _ASCII_IN_HEX, _hexadecimal, alone=True),
    Encoding.base64(_CYRILLIC_IN_BASE64),
    Encoding.base64(_WIDE_IN_BASE64),
    Encoding("hex", _WIDE_IN_HEX, _hexadecimal, alone=True),
    Encoding("escapes", r"(?:%[0-9A-Fa-f]{2})+", unquote),
    Encoding("escapes", r"&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z]{2,31});", html.unescape),
    Encoding("escapes", _ESCAPED, _escapes),
    Encoding("escapes", r"[\x0b\x1c-\x1f]+", lambda run: " " * len(run), plain=True),
    Encoding(COLOURS, COLOUR, str, plain=True),
)
_RUNS: Final[dict[str, Matcher]] = {}


def decoded(below: Seen, cues: Iterable[int], left: Allowance) -> Iterator[View]:
    """Yield the views of what is encoded in ``below``, by the encodings that ``cues`` number."""
    inline: list[Piece] = []
    for index in sorted(cues):
        encoding = ENCODINGS[index]
        runs = list(_read(below.text, encoding, left))
        if encoding.name == COLOURS:
            yield from _closed_up(below, runs)
        if encoding.alone and runs:
            yield View.of(encoding.name, below, joined(runs), decoded=True)
        elif runs:
            inline += runs
    if inline:
        inline.sort(key=lambda piece: piece.start)
        yield View.of("escapes", below, replaced(below.text, _apart(inline)), decoded=True)


def _read(text: str, encoding: Encoding, left: Allowance) -> Iterator[Piece]:
    if encoding.plain:
        yield from _plain(text, encoding, left)
        return
    for start, end in _runs(text, encoding.run):
        if left.runs <= 0 or left.chars <= 0:
            left.spent = True
            return
        left.runs -= 1
        run = text[start : min(end, start + 2 * left.chars)]
        said = fold(encoding.read(run)).text
        if not said or (encoding.alone and len(said) < SHORTEST) or said == run:
            continue
        left.spent = left.spent or len(said) > left.chars
        said = said[: left.chars]
        left.chars -= len(said)
        yield Piece(said, start, end)


def _plain(text: str, encoding: Encoding, left: Allowance) -> Iterator[Piece]:
    for count, (start, end) in enumerate(_runs(text, encoding.run)):
        if count >= MAX_PLAIN:
            left.spent = True
            return
        coloured = encoding.name == COLOURS
        said = uncoloured(text, start, end) if coloured else encoding.read(text[start:end])
        yield Piece(said, start, end)


def _closed_up(below: Seen, runs: list[Piece]) -> Iterator[View]:
    """Yield what a reader sees, if words or tokens have colours within them (``rg --color``)."""
    if any(within_word(below.text, run.start, run.end) for run in runs):
        seen = (run._replace(text="") for run in runs)
        yield View.of(COLOURS, below, replaced(below.text, seen), decoded=True)


def _runs(text: str, pattern: str) -> Iterator[tuple[int, int]]:
    if pattern not in _RUNS:
        _RUNS[pattern] = matcher(pattern)
    data = text.encode("utf-8", "replace")
    at = chars = 0
    for found in _RUNS[pattern].finditer(data):
        start, end = found.span()
        chars += len(data[at:start].decode())
        yield chars, chars + end - start  # a run is ASCII
        at, chars = end, chars + end - start


def _apart(runs: list[Piece]) -> Iterator[Piece]:
    end = 0
    for run in runs:
        if run.start >= end:
            yield run
            end = run.end
