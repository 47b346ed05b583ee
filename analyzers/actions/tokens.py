"""Splits command lines that are not Bash's (PowerShell, cmd.exe) or are too broken to parse."""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Final

from llmtrace.analyzers.actions.expand import braces
from llmtrace.analyzers.actions.script import Pipeline, Redirect, Script, Simple, Word

MAX_TOKENS: Final = 20_000
MAX_CHARS: Final = 64 * 1024

POSIX: Final = re.compile(
    r"""(?P<space>[^\S\n]+)|(?P<end>\n|&&|\|\||;|\(|\)|(?<![\w$])\{(?=\s)|(?<!\S)\}|&(?!>))|(?P<pipe>\|&?)
    |(?P<redirect>&?>>?&?|<<<|<>|<&?)
    |"(?P<double>(?:[^"\\]++|\\.)*+)"?|'(?P<single>[^']*+)'?|\\(?P<escaped>.|\Z)
    |(?P<plain>[^\s"'\\|;&()<>]+)""",
    re.DOTALL | re.VERBOSE,
)
WINDOWS: Final = re.compile(
    r"""(?P<space>(?:[^\S\n]|[(){},])+)|(?P<end>\n|&&|\|\||;|&)|(?P<pipe>\|)|(?P<redirect>\d?>>?|<)
    |"(?P<double>(?:[^"`]++|`.)*+)"?|'(?P<single>[^']*+)'?|[`^](?P<escaped>.|\Z)
    |(?P<plain>[^\s"'`^|;&(){}<>,]+)""",
    re.DOTALL | re.VERBOSE,
)
KEYWORDS: Final = frozenset(
    {"if", "then", "do", "else", "elif", "while", "until", "!", "time", "{"}
)


def read_tokens(text: str, *, windows: bool = False) -> Script:
    """Return the commands of a line, as far as quotes and separators tell. Never raises."""
    pattern = WINDOWS if windows else POSIX
    found = list(islice(pattern.finditer(text[:MAX_CHARS]), MAX_TOKENS))
    pipelines = tuple(_pipelines(found))
    complete = len(found) < MAX_TOKENS and len(text) <= MAX_CHARS
    return Script(pipelines, complete=complete)


def _pipelines(found: list[re.Match[str]]) -> Iterator[Pipeline]:
    stages: list[tuple[Simple, ...]] = []
    start = 0
    run: list[re.Match[str]] = []
    for token in (*found, None):
        ends = token is None or token["end"] is not None
        if token is not None and not ends and token["pipe"] is None:
            run.append(token)
            continue
        if (simple := _simple(run)) is not None:
            stages.append((simple,))
        run = []
        if ends and stages:
            yield Pipeline(tuple(stages), start, stages[-1][-1].end)
        if ends:
            stages, start = [], token.end() if token else 0


def _simple(run: list[re.Match[str]]) -> Simple | None:
    words: list[Word] = []
    redirects: list[Redirect] = []
    operator = ""
    for text in _glued(run):
        if isinstance(text, re.Match):
            operator = text[0]
        elif operator:
            redirects.append(Redirect(operator.lstrip("012&") or operator, Word(text)))
            operator = ""
        elif words or text not in KEYWORDS:
            words += [Word(piece) for piece in braces(text)]
    if not words and not redirects:
        return None
    return Simple(tuple(words), tuple(redirects), run[0].start(), run[-1].end())


def _glued(run: list[re.Match[str]]) -> Iterator[str | re.Match[str]]:
    """Join the pieces that no space parts; a redirection comes as it was found."""
    word: str | None = None
    for token in run:
        piece = next(
            (token[k] for k in ("double", "single", "escaped", "plain") if token[k] is not None),
            None,
        )
        if piece is not None:
            word = (word or "") + piece
            continue
        if word is not None:
            yield word
            word = None
        if token["redirect"] is not None:
            yield token
    if word is not None:
        yield word
