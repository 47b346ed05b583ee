"""What is to be scanned: files and standard input, as texts with their roles and places."""

import codecs
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, Final

import orjson

from llmtrace.cli.scanbytes import UTF_8, Encoding, NoText, in_utf_8
from llmtrace.cli.scanbytes import read as read_bytes
from llmtrace.domain.parts import ORIGIN_OF, Origin, Path, Role
from llmtrace.providers import registry
from llmtrace.providers.base import Json, Route
from llmtrace.providers.called import Called, tool_calls
from llmtrace.providers.jsongate import BadJson, parse

MAX_BYTES: Final = 64 << 20
"""Longest file that is scanned as one text or transcript, and longest line of JSONL."""
_SKIP: Final = 1 << 20
_BLANK: Final = b" \t\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A text, whose words it is, and where it stands in its document."""

    text: str
    role: Role
    origin: Origin
    location: str = ""
    path: Path = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What is judged at once: a file, a line of JSONL, or a transcript.

    ``line`` counts from 1 and is 0 for a whole file. ``row`` is the object of a line of JSONL,
    ``body`` the bytes of a transcript, ``calls`` the tool calls in it. ``unread`` says what is in
    it that is no text. ``encoding`` is how the file is written.
    """

    source: str
    line: int = 0
    pieces: Sequence[Piece]
    calls: Sequence[Called] = ()
    row: Mapping[str, Any] | None = None
    body: bytes | None = None
    unread: str = ""
    encoding: Encoding = UTF_8


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """What could not be read, where, and why. Never a word of it."""

    source: str
    line: int = 0
    reason: str


type Entry = Document | Unreadable
type Reader = Callable[[IO[bytes], str, Role], Iterator[Entry]]


def read_text(file: IO[bytes], source: str, role: Role) -> Iterator[Entry]:
    """Read a file as one text, if it is one."""
    data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        yield Unreadable(source=source, reason=_too_long("the file"))
        return
    try:
        text, encoding = read_bytes(data)
    except NoText as error:
        yield _unscanned(source, error)
        return
    piece = Piece(text=text, role=role, origin=ORIGIN_OF[role])
    yield Document(source=source, pieces=(piece,), encoding=encoding)


def read_jsonl(file: IO[bytes], source: str, role: Role) -> Iterator[Entry]:
    """Read ``{"text": …}`` a line, one after the other; empty lines are passed over."""
    for number, line in enumerate(_lines(file), 1):
        try:
            if number == 1:
                in_utf_8(line or b"")
        except NoText as error:  # one answer for the file, not one for each line of noise
            yield _unscanned(source, error)
            return
        if line is None:
            yield Unreadable(source=source, line=number, reason=_too_long("the line"))
        elif line.strip(_BLANK):
            yield _row(line, source, number, role)


def _lines(file: IO[bytes]) -> Iterator[bytes | None]:
    """Yield the lines, None in the place of one that is too long."""
    while line := file.readline(MAX_BYTES + 1):
        if len(line) <= MAX_BYTES:
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(_SKIP)
        yield None


def _row(line: bytes, source: str, number: int, role: Role) -> Entry:
    try:
        row = _loads(line.removeprefix(codecs.BOM_UTF8))
    except (ValueError, RecursionError):
        return Unreadable(source=source, line=number, reason="not JSON; expected an object a line")
    if not isinstance(row, dict):
        return Unreadable(source=source, line=number, reason='not an object; expected {"text": …}')
    text = row.get("text")
    if not isinstance(text, str):
        found = "no 'text'" if text is None else f"'text' is {_KINDS.get(type(text), 'no string')}"
        return Unreadable(source=source, line=number, reason=f"{found}; expected a string")
    piece = Piece(text=text, role=role, origin=ORIGIN_OF[role])
    return Document(source=source, line=number, pieces=(piece,), row=row)


_KINDS: Final[Mapping[type, str]] = {
    bool: "true or false",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
}


def _loads(line: bytes) -> object:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return json.loads(line)  # reads lone surrogates, which orjson refuses


def _transcript(dialect: Callable[[Json], str]) -> Reader:
    def read(file: IO[bytes], source: str, role: Role) -> Iterator[Entry]:
        del role  # a transcript says itself whose words they are
        data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            yield Unreadable(source=source, reason=_too_long("the file"))
            return
        try:
            in_utf_8(data)
            body = parse(data.strip(_BLANK))
        except NoText as error:
            yield _unscanned(source, error)
            return
        except BadJson as error:
            yield Unreadable(source=source, reason=f"{error}; expected a request body")
            return
        yield _conversation(body, dialect(body), data.strip(_BLANK), source)

    return read


def _conversation(body: Json, dialect: str, data: bytes, source: str) -> Entry:
    route = Route(provider="", dialect=dialect, operation="chat")
    view = registry.dialect(dialect).request(body, route)
    if not view.parts:
        return Unreadable(source=source, reason=f"no text in it as a request of {dialect}")
    pieces = tuple(
        Piece(
            text=part.text,
            role=part.role,
            origin=part.origin,
            location=part.location,
            path=part.path,
        )
        for part in view.parts
    )
    unread = [f"{item.kind} at {item.location}" for item in view.media]
    unread += [one.reason for one in view.unread]
    return Document(
        source=source,
        pieces=pieces,
        calls=tuple(tool_calls(body)),
        body=data,
        unread=", ".join(unread),
    )


def _openai(body: Json) -> str:
    responses = isinstance(body, dict) and "messages" not in body and "input" in body
    return "openai.responses" if responses else "openai.chat"


def _ollama(body: Json) -> str:
    return "ollama.generate" if isinstance(body, dict) and "prompt" in body else "ollama.chat"


FORMATS: Final[Mapping[str, Reader]] = {
    "text": read_text,
    "jsonl": read_jsonl,
    "openai": _transcript(_openai),
    "anthropic": _transcript(lambda _: "anthropic.messages"),
    "gemini": _transcript(lambda _: "gemini.generate"),
    "bedrock": _transcript(lambda _: "bedrock.converse"),
    "ollama": _transcript(_ollama),
}
"""How a file is read, by the name of its format."""

_BY_ENDING: Final[Mapping[str, str]] = {".jsonl": "jsonl", ".ndjson": "jsonl"}


def format_of(name: str) -> str:
    """Return the format of a file that none is given for: lines of JSON by name, else text."""
    return next((form for end, form in _BY_ENDING.items() if name.lower().endswith(end)), "text")


def entries(
    files: Iterable[tuple[str, IO[bytes]]], form: str | None, role: Role
) -> Iterator[Entry]:
    """Read files one after the other; one that fails half-way is told as unreadable."""
    for source, file in files:
        try:
            with file:
                yield from FORMATS[form or format_of(source)](file, source, role)
        except OSError as error:
            yield Unreadable(source=source, reason=f"cannot be read: {error.strerror}")


def _unscanned(source: str, error: NoText) -> Unreadable:
    return Unreadable(source=source, reason=f"not scanned: {error}")


def _too_long(what: str) -> str:
    return f"{what} is longer than {MAX_BYTES >> 20} MiB; cut it into several"
