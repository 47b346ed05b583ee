"""Splits command lines that are not Bash's (PowerShell, cmd.exe) or are too broken to parse."""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Final

from llmtrace.analyzers.actions.expand import braces
from llmtrace.analyzers.actions.script import Pipeline, Redirect, Script, Simple, Word

MAX_TOKENS: Final = 60_000
MAX_CHARS: Final = 1024 * 1024

POSIX: Final = re.compile(
    r"""(?P<space>[^\S\n]+)|(?P<end>\n|`|&&|\|\||;|\(|\)|(?<![\w$])\{(?=\s)|(?<!\S)\}|&(?!>))|(?P<pipe>\|&?)
    |(?P<redirect>&?>>?&?|<<<|<>|<&?)
    |"(?P<double>(?:[^"\\]++|\\.)*+)"?|'(?P<single>[^']*+)'?|\\(?P<escaped>.|\Z)
    |(?P<plain>[^\s"'`\\|;&()<>]+)""",
    re.DOTALL | re.VERBOSE,
)
WINDOWS: Final = re.compile(
    r"""(?P<space>(?:[^\S\n]|[(){},])+)|(?P<end>\n|&&|\|\||;|&)|(?P<pipe>\|)|(?P<redirect>\d?>>?|<)
    |"(?P<double>(?:[^"`]++|`.)*+)"?|'(?P<single>[^']*+)'?|[`^](?P<escaped>.|\Z)
    |(?P<plain>[^\s"'`^|;&(){}<>,]+)""",
    re.DOTALL | re.VERBOSE,
)
HEREDOC: Final = re.compile(r"(?<!<)<<-?[ \t]*+(?P<quote>['\"]?)(?P<end>\w++)(?P=quote)")
MAX_HEREDOCS: Final = 256
RUNS: Final = re.compile(
    r"\b(?:sh|bash|zsh|dash|ksh|fish|python[\d.]*|perl|ruby|node|php|ssh|sudo|eval|source|xargs|su)\b"
)
SUBSTITUTION: Final = re.compile(r"\$\(([^()]+)\)|`([^`]+)`")
MAX_SUBSTITUTIONS: Final = 64
KEYWORDS: Final = frozenset(
    {"if", "then", "do", "else", "elif", "while", "until", "!", "time", "{"}
)


def read_tokens(text: str, *, windows: bool = False) -> Script:
    """Return the commands of a line, as far as quotes and separators tell. Never raises."""
    pattern = WINDOWS if windows else POSIX
    kept = text[:MAX_CHARS]
    if not windows:
        kept = without_bodies(kept)
    found = list(islice(pattern.finditer(kept), MAX_TOKENS))
    pipelines = tuple(_pipelines(found))
    complete = len(found) < MAX_TOKENS and len(text) <= MAX_CHARS
    return Script(pipelines, complete=complete)


def without_bodies(text: str) -> str:
    """Blank the here-documents of a script that are fed to commands which do not run them."""
    pieces: list[str] = []
    place = 0
    for _ in range(MAX_HEREDOCS if "<<" in text else 0):
        found = HEREDOC.search(text, place)
        start = text.find("\n", found.end()) + 1 if found else 0
        if found is None or not start:
            break
        end = _end_of_body(text, start, found["end"])
        line = text[text.rfind("\n", 0, found.start()) + 1 : start]
        body = text[start:end]
        pieces.append(text[place:start])
        pieces.append(body if RUNS.search(line) else re.sub(r"[^\n]", " ", body))
        place = end
    return "".join([*pieces, text[place:]])


def _end_of_body(text: str, start: int, word: str) -> int:
    """Return where the line with the closing word begins, the end of the text if there is none."""
    found = re.compile(rf"^[ \t]*+{re.escape(word)}[ \t]*+$", re.MULTILINE).search(text, start)
    return found.start() if found else len(text)


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
            words += [Word(piece, scripts=_substituted(piece)) for piece in braces(text)]
    if not words and not redirects:
        return None
    return Simple(tuple(words), tuple(redirects), run[0].start(), run[-1].end())


def _substituted(word: str) -> tuple[Script, ...]:
    """Return the substitutions in a quoted word, those at the innermost."""
    if "$(" not in word and "`" not in word:
        return ()
    found = islice(SUBSTITUTION.finditer(word), MAX_SUBSTITUTIONS)
    return tuple(read_tokens(one[1] or one[2]) for one in found)


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
