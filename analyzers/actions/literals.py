"""Finds string literals in program texts of any language, and the calls that they are given to."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from llmtrace.analyzers.actions.arguments import Leaf, unescape

MAX_LITERALS: Final = 16_384

TOKEN: Final = re.compile(
    r"""
      (?P<comment>//[^\n]*|/\*.*?\*/|(?m:^[ \t]*\#[^\n]*))
    | (?P<raw>[rR][bB]?(?=["']))?
      (?P<string>\"{3}.*?\"{3}|'{3}.*?'{3}
        |"(?:[^"\\\n]++|\\.)*+"|'(?:[^'\\\n]++|\\.)*+'|`(?:[^`\\]++|\\.)*+`)
    | (?P<word>[A-Za-z_$][\w$]*(?:\??\.[A-Za-z_$][\w$]*)*)
    | (?P<mark>[(){}\[\]:,=])
    """,
    re.DOTALL | re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Literal:
    """A string in a program: the call it is given to, its key, whether in an array."""

    call: str
    key: str
    text: str
    start: int
    end: int
    exact: bool
    array: int = 0
    """Which array of the program it stands in, counted from 1; 0 is none."""


def literals(code: str) -> Iterator[Literal]:
    """Go through the string literals of a program, at most ``MAX_LITERALS``."""
    return islice(_literals(code), MAX_LITERALS)


def _literals(code: str) -> Iterator[Literal]:
    calls: list[str] = [""]
    arrays: list[int] = [0]
    counted = 0
    word = key = ""
    for found in TOKEN.finditer(code):
        kind = found.lastgroup
        if kind == "string":
            literal = _literal(found, calls[-1], key, arrays[-1])
            yield literal
            word = literal.text if len(literal.text) < 64 else ""
        elif kind == "word":
            word = found[0]
        elif kind == "mark":
            mark = found[0]
            if mark == "(" and len(calls) < 64:
                calls.append(word)
                key = ""
            elif mark == ")" and len(calls) > 1:
                calls.pop()
            elif mark == "[" and len(arrays) < 64:
                counted += 1
                arrays.append(counted)
            elif mark == "]" and len(arrays) > 1:
                arrays.pop()
            elif mark in ":=":
                key = word
            elif mark in ",{}" and arrays[-1] == 0:
                key = ""
            word = ""


def _literal(found: re.Match[str], call: str, key: str, array: int) -> Literal:
    raw, (start, end) = found["string"], found.span("string")
    quotes = 3 if raw[:3] in ('"""', "'''") and len(raw) >= 6 else 1
    start, end = start + quotes, end - quotes
    text = raw[quotes:-quotes]
    exact = "\\" not in text or found["raw"] is not None
    return Literal(call, key, text if exact else unescape(text), start, end, exact, array)


def tool_calls(code: str) -> Iterator[tuple[str, list[Leaf]]]:
    """Go through the calls ``tools.NAME(…)`` of a program, with the strings given to each."""
    name, leaves = "", list[Leaf]()
    last: Literal | None = None
    for literal in literals(code):
        short = _tool_name(literal)
        if short is None:
            continue
        if leaves and (short != name or _next_call(code, last, literal)):
            yield name, leaves
            leaves = []
        name, last = short, literal
        path: tuple[str | int, ...] = (literal.key,) if literal.key else ()
        if literal.array:
            path = (*path, len(leaves))
        leaves.append(Leaf(path, literal.text, literal.start, literal.end, literal.exact))
    if leaves:
        yield name, leaves


def _tool_name(literal: Literal) -> str | None:
    owner, dot, name = literal.call.replace("?.", ".").rpartition(".")
    return name if dot and owner.endswith("tools") else None


def _next_call(code: str, last: Literal | None, literal: Literal) -> bool:
    return last is not None and "tools." in code[last.end : literal.start]
