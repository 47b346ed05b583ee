"""What a search looks for: the words of what a person typed, never a query language of theirs."""

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Final

MAX_WORDS: Final = 32
"""Words of a search that count; more would make one search cost as much as the attacker likes."""

MAX_INDEXED: Final = 262_144
"""Code points of a text that can be found; what stands behind is kept but not indexed."""

_TOKEN: Final = re.compile(r"[^\W_]+")

type Phrase = tuple[str, ...]


def phrases(search: str) -> Sequence[Phrase]:
    """Return one phrase for each word; ``foo-bar`` is two tokens that must follow each other.

    A search without a letter or digit has no phrases, and so it finds nothing.
    """
    words = search.split(maxsplit=MAX_WORDS)[:MAX_WORDS]
    return [tokens for word in words if (tokens := tuple(_TOKEN.findall(word)))]


def fts_query(search: str) -> str:
    """Return the search in the syntax of FTS5: quoted phrases, all of which must be found.

    Tokens are letters and digits alone, so nothing in them can end the quotes. The empty string
    stands for a search that finds nothing: FTS5 would call it an error.
    """
    return " ".join('"{}"'.format(" ".join(phrase)) for phrase in phrases(search))


def found_in(search: Sequence[Phrase], *texts: str) -> bool:
    """Whether each phrase is in one of the texts, whatever its case and accents."""
    tokens = [_folded(text) for text in texts]
    return bool(search) and all(
        any(_follows(_folded(" ".join(phrase)), text) for text in tokens) for phrase in search
    )


def _folded(text: str) -> Sequence[str]:
    plain = unicodedata.normalize("NFKD", text[:MAX_INDEXED])
    bare = "".join(char for char in plain if not unicodedata.combining(char))
    return [token.casefold() for token in _TOKEN.findall(bare)]


def _follows(phrase: Sequence[str], tokens: Sequence[str]) -> bool:
    size = len(phrase)
    return any(tokens[at : at + size] == phrase for at in range(len(tokens) - size + 1))


def wildcard(pattern: str) -> Callable[[str], bool]:
    """Return what tells whether a whole word fits a pattern in which ``*`` stands for anything."""
    pieces = (re.escape(piece) for piece in re.split(r"\*+", pattern))
    fits = re.compile(".*?".join(pieces), re.DOTALL).fullmatch
    return lambda word: fits(word) is not None


def glob(pattern: str) -> str:
    """Return the pattern for SQLite's GLOB, in which more than ``*`` has a meaning."""
    return re.sub(r"[?\[]", r"[\g<0>]", re.sub(r"\*+", "*", pattern))
