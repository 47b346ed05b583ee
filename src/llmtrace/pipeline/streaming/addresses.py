"""Where in a text an address begins that is still open: what is written next would be part of it.

In what is shown, an address is also what stands where Markdown, HTML or CSS have one, whatever it
looks like. Schemes of databases are no address here: nothing follows them by itself.
"""

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
    r"(?:\]\(\s*+(?:[^()\n]|\([^()\n]*+\)?+)*+"
    r"|\burl\(\s*+[^)\n]*+"
    r"|\b(?:src|srcset|href|poster|formaction|lowsrc|dynsrc)\s{0,8}=\s{0,8}"
    r"(?:\\?\"[^\"<>]*+|\\?'[^'<>]*+|[^\s\"'<>\\][^\s<>]*+|))"
)
_SPACE: Final = re.compile(r"\s")

type Where = re.Pattern[str]
IN_FILE: Final[Where] = re.compile(r"https?://[^\s\"'<>)]*+", re.IGNORECASE)
"""What is written to a file is fetched by nobody: web addresses alone."""
IN_ARGUMENT: Final[Where] = re.compile(_ADDRESS, re.IGNORECASE)
"""In what a tool is given: addresses of every scheme, and of none."""
IN_TEXT: Final[Where] = re.compile(rf"{_SHOWN}|{_ADDRESS}", re.IGNORECASE)
"""In what may be shown to a person: the places of addresses too."""


def addresses(text: str, where: Where) -> Iterator[tuple[int, int]]:
    """Go through the spans of a text that are addresses, in order.

    What is written at the end of one belongs to it. Of a text of which the beginning was forgotten,
    the ASCII run at its start is one if it is as long as what is kept.
    """
    at = 0
    if where is IN_TEXT and len(text) >= LEFT_OF_URL:
        space = _SPACE.search(text)
        at = space.start() if space else len(text)
        if at >= LEFT_OF_URL and text[:at].isascii():
            yield 0, at
        else:
            at = 0
    for found in where.finditer(text, at):
        yield found.span()


def open_address(text: str, end: int) -> int | None:
    """Return where an address begins that still goes on at ``end``, None if there is none."""
    for start, stop in addresses(text, IN_TEXT):
        if start >= end:
            return None
        if end <= stop:
            return start
    return None
