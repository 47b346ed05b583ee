r"""Where a value may begin: also right behind an escape, whose last letter is no part of a word.

``a\nAKIA…`` is how JSON, a log or source code writes a key on a line of its own. A rule says
``\b``, or that no letter stands before it; both take the ``n`` for one. Told where the rule is
matched, the span is that of the value alone, in a stream too, and no further view is needed.
"""

import re
from typing import Final, NamedTuple

ESCAPE: Final = r"\\[nrtbf]"
"""The escapes of JSON that end in a letter (RFC 8259 §7)."""
_BEGINS: Final = re.compile(r"((?:\(\?[ixs]+\))?(?:\(\?:)?)(\\b|\(\?:\^\||\(\?:\\b\|)")
_PIECE: Final = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|.", re.DOTALL)
_NOTHING_BEFORE: Final = re.compile(r"((?:\(\?[ixs]+\))?(?:\(\?:)?)(\(\?<!\[[^\]\\]+\]\))")
_NO_LETTER: Final = ("(?<![A-Za-z0-9])", "(?i)(?<![a-z0-9])")
_NO_LETTER_AFTER: Final = "(?![A-Za-z0-9])"


class _Begin(NamedTuple):
    """How a pattern begins: its flags, what it says of what stands before, and all the rest.

    ``marked`` says that an underscore may stand beside what it finds: ``confirm`` lets it.
    """

    flags: str
    edge: str
    rest: str
    marked: bool


def _begin(pattern: str, confirm: str) -> _Begin | None:
    begins = _BEGINS.match(pattern)
    if begins is None:
        return None
    flags, edge = begins.groups()
    marked = edge == r"\b" and confirm.startswith(_NO_LETTER)
    rest = pattern[begins.end() :]
    if marked and confirm.endswith(_NO_LETTER_AFTER):
        rest = rest.removesuffix(r"\b")
    return _Begin(flags, edge, rest, marked)


def opened(pattern: str, confirm: str) -> str:
    """Return the pattern of a value so that it begins right behind an escape too.

    A value that nothing confirms is named, so that the escape is no part of it.
    """
    begin = _begin(pattern, confirm)
    if begin is None:
        return pattern
    flags, edge, rest, marked = begin
    if edge != r"\b":
        return f"{flags}{edge}{ESCAPE}|{rest}"
    if not confirm and not flags.endswith("(?:") and "(?P<value>" not in rest:
        rest = f"(?P<value>{rest})"
    return rf"{flags}(?:\b|{'_|' * marked}{ESCAPE}){rest}"


def loose(pattern: str, confirm: str) -> str:
    """Return a pattern that also finds what stands behind an underscore, where that may be."""
    begin = _begin(pattern, confirm)
    return f"{begin.flags}{begin.rest}" if begin and begin.marked else pattern


def behind(pattern: str, confirm: str) -> str:
    """Return a pattern for what stands right behind an escape; empty if ``loose`` finds that."""
    begin = _begin(pattern, confirm)
    if begin is None or begin.marked:
        return ""
    rest = begin.rest if begin.edge == r"\b" else f"(?:{begin.rest[_closed(begin.rest) :]})"
    return f"{begin.flags}(?:{ESCAPE}){rest}"


def _closed(rest: str) -> int:
    """Return where the group ends that ``rest`` begins in."""
    depth = 1
    for piece in _PIECE.finditer(rest):
        depth += (piece[0] == "(") - (piece[0] == ")")
        if depth == 0:
            return piece.end()
    return len(rest)


def confirmed_behind(confirm: str) -> str:
    """Return a confirming pattern that lets an escape stand where it lets no letter."""
    begins = _NOTHING_BEFORE.match(confirm)
    if begins is None:
        return confirm
    return f"{begins[1]}(?:{begins[2]}|(?<={ESCAPE})){confirm[begins.end() :]}"
