"""Puts other texts in the place of spans."""

import re
from collections.abc import Iterable
from typing import Final

FAMILIES: Final = {"pii": "PII", "secret": "SECRET"}
_NO_NAME: Final = re.compile(r"[^A-Z]+")


def apply(text: str, replacements: Iterable[tuple[int, int, str]]) -> str:
    """Return ``text`` with other texts for spans ``(start, end, new)``, given in any order.

    Of spans that overlap, the one that starts first counts, of those the longest; what
    another covers beyond it is taken out too, so that nothing of a value stays.
    """
    out: list[str] = []
    at = 0
    for start, end, new in sorted(replacements, key=lambda span: (span[0], -span[1], span[2])):
        if start >= at:
            out += (text[at:start], new)
        at = max(at, end)
    out.append(text[at:])
    return "".join(out)


def one_way(kind: str) -> str:
    """Return what stands for a value of a kind for good: ``[PII:EMAIL]``."""
    family, _, name = kind.partition(".")
    label = _NO_NAME.sub("_", (name or family).upper())
    return f"[{FAMILIES.get(family, 'REDACTED')}:{label}]"
