"""The strings of a JSON document: all of them, in document order, each with its path."""

import re
from collections.abc import Iterator
from typing import Final

from llmtrace.domain.parts import Path, holds_value
from llmtrace.providers.base import Json

NOTHING_KNOWN: Final[frozenset[str]] = frozenset()

_TOKEN: Final = re.compile(r"[!-~]{0,256}")
_LONGEST_PLAIN_KEY: Final = 64
_LONGEST_TOKEN_ID: Final = 7
_LEAST_NUMBER: Final = 10**11
"""Shorter numbers are times, sizes and ids; the numbers of cards and accounts are longer."""


def words(text: str) -> frozenset[str]:
    """Return the words of a text: a table of keys that can be read."""
    return frozenset(text.split())


def is_token(text: str) -> bool:
    """Whether this can be an id, a name or a keyword: at most 256 printable ASCII, no space."""
    return _TOKEN.fullmatch(text) is not None


def is_plain_key(key: str) -> bool:
    """Whether a key says nothing but a member's name. Any other key is read like a text.

    Short numbers are plain as well: ``logit_bias`` has token ids for keys.
    """
    if key.isidentifier():
        return len(key) <= _LONGEST_PLAIN_KEY and not holds_value(key)
    return len(key) <= _LONGEST_TOKEN_ID and key.isdecimal()


def strings(
    value: Json,
    path: Path = (),
    *,
    known: frozenset[str] = NOTHING_KNOWN,
    sticky: bool = False,
    numbers: bool = False,
) -> Iterator[tuple[Path, str]]:
    """Yield every string below ``value`` that may say something, with the path to it.

    Left out are empty strings, and those that stand under a key of ``known`` and look like a
    token. Below an unknown key nothing is known, unless ``sticky``. A key that is no plain
    name (``{"my number is 123": 1}``) is yielded too, with the path of its member, and with
    ``numbers`` what can be the number of a card: whole numbers of at least twelve digits.

    The walk keeps its own stack: a document of any depth is read.
    """
    stack: list[tuple[Json, Path, frozenset[str], bool]] = [(value, path, known, False)]
    pop, push = stack.pop, stack.append
    while stack:
        value, path, known, named = pop()
        if isinstance(value, str):
            if value and not (named and is_token(value)):
                yield path, value
        elif isinstance(value, list):
            for index in range(len(value) - 1, -1, -1):
                item = value[index]
                if isinstance(item, (str, list, dict)) or (numbers and _is_long(item)):
                    push((item, (*path, index), known, named))
        elif isinstance(value, dict):
            for key in value:
                if not is_plain_key(key) and key not in known:
                    yield (*path, key), key
            for key in reversed(value):
                item = value[key]
                if isinstance(item, (str, list, dict)) or (numbers and _is_long(item)):
                    is_known = key in known
                    below = known if is_known or sticky else NOTHING_KNOWN
                    push((item, (*path, key), below, is_known))
        elif numbers and _is_long(value) and not named:
            yield path, str(value)


def _is_long(value: Json) -> bool:
    return isinstance(value, int) and abs(value) >= _LEAST_NUMBER
