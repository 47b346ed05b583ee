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


def open_address(text: str, end: int) -> tuple[int, str] | None:
    """Return where an address begins that still goes on at ``end``, None if there is none.

    With it comes what begins such an address wherever it stands: for a text of which the
    beginning is forgotten.
    """
    if not _SIGN.search(text):
        return None
    first, openers = end, ""
    for pattern in IN_TEXT:
        for found in pattern.finditer(text):
            if found.start() >= end:
                break
            if end <= found.end():
                first, openers = min(first, found.start()), openers + _opener(text, found)
                break
    return (first, openers) if openers else None


def _opener(text: str, found: re.Match[str]) -> str:
    """Return what begins an address that ends where the one that was found would."""
    for pattern in _OPENERS:
        if shown := pattern.match(text, found.start()):
            return shown.group()
    quoted = text[found.start() - 1 : found.start()] == "'"
    return "'https://" if quoted else ".https://"
