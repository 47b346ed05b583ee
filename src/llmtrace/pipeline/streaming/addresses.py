"""Where in a text an address begins that is still open: what is written next would be part of it.

In what is shown, an address is also what stands where Markdown, HTML or CSS have one, whatever it
looks like. Schemes of databases are no address here: nothing follows them by itself.
"""

import heapq
import re
from collections.abc import Iterator
from typing import Final

LEFT_OF_URL: Final = 2048
"""Code points of an address that are looked at."""
STAND_IN: Final = 64
"""Code points that stand for the beginning of one that was forgotten."""

_COLON: Final = r"(?::|&#0{0,4}58;?|&#x0{0,4}3a;?|&colon;)"
_DATABASES: Final = (
    r"(?:jdbc:)?(?:postgres(?:ql)?|mysqlx?|mariadb|mongodb|rediss?|valkeys?|amqps?|mssql|sqlserver|"
    r"oracle|sqlite|clickhouse|cassandra|neo4j|bolt|nats|kafka|ldaps?|memcached?|snowflake|h2|db2|"
    r"couchbases?|cockroachdb)(?:\+\w+)?:"
)
_START: Final = (
    rf"(?:(?:https?|wss?|ftps?){_COLON}"
    rf"|(?<![a-z0-9+.-])(?!{_DATABASES})[a-z][a-z0-9+.-]{{1,30}}{_COLON}[/\\]{{2}}"
    rf"|\b(?:mailto|smsto|sms|xmpp|sips?|whatsapp|skype|callto|javascript|vbscript){_COLON}"
    r"|(?<![\w.:/\\])(?://(?:[\w-]+[./@])?|\\\\[\w-]+\.)"
    r"|(?<![\w.-])www\.)"
)
# within brackets of its own, and behind a quote up to the next
_INSIDE: Final = r"(?:[^\s\"<>()]|\([^\s\"<>()]*+\)?+)*+"
_QUOTED: Final = r"(?:[^\s\"'<>()]|\([^\s\"'<>()]*+\)?+)*+"
_ADDRESS: Final = rf"(?:(?<!')(?:{_START}){_INSIDE}|(?<=')(?:{_START}){_QUOTED})"
_SHOWN: Final = (
    r"\]\(\s*+(?:[^()\n]|\([^()\n]*+\)?+)*+",
    r"\burl\(\s*+[^)\n]*+",
    r"\b(?:src|srcset|href|poster|formaction|lowsrc|dynsrc)\s{0,8}=\s{0,8}"
    r"(?:\\?\"[^\"<>]*+|\\?'[^'<>]*+|[^\s\"'<>\\][^\s<>]*+|)",
)
_OPENERS: Final = tuple(
    re.compile(pattern, re.IGNORECASE) for pattern in (r"\]\(", r"url\(", r"\w+\s*=\s*\\?[\"']?")
)


def _compiled(*patterns: str) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(pattern, re.IGNORECASE) for pattern in patterns)


_SIGN: Final = re.compile(r"[:&/\\(=]|www\.", re.IGNORECASE)
"""No address begins without one of these; most of what is said has none."""

type Where = tuple[re.Pattern[str], ...]
"""Each is looked for by itself: a quote that is never closed hides no link that follows it."""
IN_FILE: Final[Where] = _compiled(r"https?://[^\s\"'<>)]*+")
"""What is written to a file is fetched by nobody: web addresses alone."""
IN_ARGUMENT: Final[Where] = _compiled(_ADDRESS)
"""In what a tool is given: addresses of every scheme, and of none."""
IN_TEXT: Final[Where] = _compiled(*_SHOWN, _ADDRESS)
"""In what may be shown to a person: the places of addresses too."""


def addresses(text: str, where: Where) -> Iterator[tuple[int, int]]:
    """Go through the spans of a text that are addresses, in order; none overlaps the next.

    What is written at the end of one belongs to it.
    """
    found = (pattern.finditer(text) for pattern in where)
    start, stop = -1, -1
    for begins, ends in heapq.merge(*(map(re.Match.span, matches) for matches in found)):
        if begins > stop:
            if start >= 0:
                yield start, stop
            start = begins
        stop = max(stop, ends)
    if start >= 0:
        yield start, stop


def open_address(text: str, end: int) -> int | None:
    """Return where an address begins that still goes on at ``end``, None if there is none."""
    return min(_open(text, end), default=None)


def _open(text: str, end: int) -> Iterator[int]:
    """Go through where addresses begin that go on at ``end``, one of each kind."""
    if not _SIGN.search(text):
        return
    for pattern in IN_TEXT:
        for found in pattern.finditer(text):
            if found.start() >= end:
                break
            if end <= found.end():
                yield found.start()
                break


def stand_in(text: str, end: int, cut: int) -> str:
    """Return what begins all that is open at ``end``, for a text that is forgotten up to ``cut``.

    It has ``STAND_IN`` code points; what follows it ends where it would have ended.
    """
    said = ""
    for start in sorted(start for start in _open(text, end) if start < cut):
        opener = _opener(text, start, cut)
        both = opener.startswith("'") and said.endswith("'")
        said += opener[1:] if both else opener
    return said[:STAND_IN].ljust(STAND_IN, "a")


def _opener(text: str, start: int, cut: int) -> str:
    """Return what begins an address that ends where the one from ``start`` on would."""
    for pattern in _OPENERS:
        if shown := pattern.match(text, start):
            prefix = shown.group()
            if prefix == "](":
                return prefix + _bracket(text[start + 2 : cut])
            closed = prefix.endswith(("(", '"', "'"))
            return prefix if closed else f"{prefix}."
    quoted = text[max(start - 1, 0) : start] == "'"
    return ("'https://" if quoted else ".https://") + _bracket(text[start:cut])


def _bracket(inner: str) -> str:
    """Return the bracket within an address that is open at its end, if one is."""
    return "(" if inner.rfind("(") > inner.rfind(")") else ""
