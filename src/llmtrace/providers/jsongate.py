"""The gate for JSON from outside: what passes is read the same by every JSON parser.

orjson decides what is JSON: it refuses a BOM, UTF-16, lone surrogates, NaN, comments and all
else that RFC 8259 does not allow. Numbers are read as parsers do: whole ones up to 64 bits
are exact, longer ones and fractions become the nearest double, and one that no double can
hold is refused. What is forwarded are the bytes that came, so nothing is lost by that.
"""

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import Final

import orjson

from llmtrace.domain.parts import Path, location
from llmtrace.providers.base import Json


class Reason(StrEnum):
    """Why a document is refused."""

    INVALID = "invalid"
    DEPTH = "depth"
    NODES = "nodes"
    STRING_LENGTH = "string_length"
    NUMBER_LENGTH = "number_length"
    DUPLICATE_KEY = "duplicate_key"


BOUNDS: Final = frozenset({Reason.DEPTH, Reason.NODES, Reason.STRING_LENGTH, Reason.NUMBER_LENGTH})
"""Reasons that are a bound of ours, and none of JSON's."""


class BadJson(ValueError):
    """A document is no JSON, over a limit, or means different things to different parsers.

    ``where`` is the path to the duplicate key, or line and column (from 1) where JSON ends to be
    JSON, empty for other reasons. Keys that do not look like the name of a field are left out.
    """

    def __init__(self, reason: Reason, where: str = "") -> None:
        super().__init__(f"bad JSON: {reason}" + (f" at {where}" if where else ""))
        self.reason = reason
        self.where = where

    @property
    def limit(self) -> str:
        """The key of ``limits`` that it met, empty for other reasons."""
        return f"json_{self.reason}" if self.reason in BOUNDS else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonLimits:
    """Most of each that a document may have."""

    depth: int = 128
    """Containers within each other."""
    nodes: int = 1_000_000
    """Values, scalars and containers alike."""
    string_length: int = 16 << 20
    """Code points of one string or key."""
    number_length: int = 1_000
    """Characters of one number."""


DEFAULT_LIMITS: Final = JsonLimits()


def parse(body: bytes, limits: JsonLimits = DEFAULT_LIMITS) -> Json:
    """Return what the document says.

    Keys that differ only in case count as duplicates where a provider's own fields stand (the
    root, the items of its lists, and the items of theirs), since parsers in Go take them for
    one; elsewhere they may be a user's own data.

    Raises:
        BadJson: The document is refused.
    """
    _check_size(body, limits)
    try:
        document: Json = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadJson(Reason.INVALID, _place(body, error)) from None  # it quotes the document
    _check_shape(document, limits)
    if len(body) > limits.string_length:
        _check_strings(document, limits.string_length)
    text = body.decode()
    try:
        json.loads(
            text,
            object_pairs_hook=_without_duplicates,
            parse_float=_NumberCheck(limits.number_length),
        )
    except _DuplicateKey:
        raise BadJson(Reason.DUPLICATE_KEY, location(_duplicate(text)[:_MOST_STEPS])) from None
    _check_case(document)
    return document


_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)


def _check_size(body: bytes, limits: JsonLimits) -> None:
    """Refuse a document of too many nodes before memory is spent on it.

    Each value follows a comma or a bracket, so these outnumber the values; by no more than
    the empty containers, which are values themselves.
    """
    most = 2 * limits.nodes + 1
    if len(body) <= most or _brackets_and_commas(body) <= most:
        return
    if _brackets_and_commas(_STRING.sub(b"", body)) > most:
        raise BadJson(Reason.NODES)


def _brackets_and_commas(body: bytes) -> int:
    return body.count(b",") + body.count(b"[") + body.count(b"{")


def _check_shape(document: Json, limits: JsonLimits) -> None:
    level = _containers([document])
    nodes, depth = 1, 0
    while level:
        depth += 1
        if depth > limits.depth:
            raise BadJson(Reason.DEPTH)
        below: list[Json] = []
        for value in level:
            below += value.values() if isinstance(value, dict) else value
        nodes += len(below)
        level = _containers(below)
    if nodes > limits.nodes:
        raise BadJson(Reason.NODES)


def _containers(values: list[Json]) -> list[dict[str, Json] | list[Json]]:
    return [value for value in values if isinstance(value, (dict, list))]


def _check_strings(document: Json, longest: int) -> None:
    level: list[Json] = [document]
    while level:
        below: list[Json] = []
        for value in level:
            if isinstance(value, dict):
                below += chain(value, value.values())
            elif isinstance(value, list):
                below += value
            elif isinstance(value, str) and len(value) > longest:
                raise BadJson(Reason.STRING_LENGTH)
        level = below


class _NumberCheck:
    """Called by ``json`` with each number that has a fraction or an exponent.

    Whole numbers need no check: orjson has refused those over 309 digits.
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest

    def __call__(self, number: str) -> float:
        if len(number) > self._longest:
            raise BadJson(Reason.NUMBER_LENGTH)
        return 0.0


class _DuplicateKey(Exception):
    """An object has a key twice."""


def _without_duplicates(pairs: list[tuple[str, object]]) -> None:
    if len(dict(pairs)) != len(pairs):
        raise _DuplicateKey


@dataclass(frozen=True, slots=True)
class _Pairs:
    pairs: list[tuple[str, object]]


def _duplicate(text: str) -> Path:
    """Return the path to the first duplicate key, outermost first."""
    level: list[tuple[Path, object]] = [((), json.loads(text, object_pairs_hook=_Pairs))]
    while level:
        below: list[tuple[Path, object]] = []
        for path, value in level:
            if isinstance(value, list):
                below += (((*path, index), item) for index, item in enumerate(value))
            elif isinstance(value, _Pairs):
                seen: set[str] = set()
                for key, item in value.pairs:
                    if key in seen:
                        return (*path, key)
                    seen.add(key)
                    below.append(((*path, key), item))
        level = below
    return ()


def _check_case(document: Json) -> None:
    """Refuse keys that differ only in case in the objects that a provider defines."""
    level: list[Json] = [document]
    for _ in range(3):
        below: list[Json] = []
        for value in level:
            if isinstance(value, dict):
                if len(set(map(str.casefold, value))) != len(value):
                    where = _path_to(document, value)[:_MOST_STEPS]
                    raise BadJson(Reason.DUPLICATE_KEY, location(where))
                for item in value.values():
                    if isinstance(item, list):
                        below += item
        level = below


def _path_to(document: Json, fields: dict[str, Json]) -> Path:
    """Return the path to the key of ``fields`` that differs from an earlier one in case."""
    level: list[tuple[Path, Json]] = [((), document)]
    while level:
        below: list[tuple[Path, Json]] = []
        for path, value in level:
            if value is fields:
                return (*path, _same_but_for_case(fields))
            if isinstance(value, dict):
                below += (((*path, key), item) for key, item in value.items())
            elif isinstance(value, list):
                below += (((*path, index), item) for index, item in enumerate(value))
        level = below
    return ()


def _same_but_for_case(fields: dict[str, Json]) -> str:
    seen: set[str] = set()
    for key in fields:
        if key.casefold() in seen:
            return key
        seen.add(key.casefold())
    return ""


_MOST_STEPS: Final = 12


def _place(body: bytes, error: orjson.JSONDecodeError) -> str:
    """Say where a document ends to be JSON, in numbers alone."""
    if not body.strip():
        return "the empty body"
    if not error.pos:  # also of bytes that are no UTF-8 orjson tells no other place
        return "the first character, or at bytes that are no UTF-8"
    return f"line {error.lineno}, column {error.colno}"
