"""Changes what a tool is called with: text by text, as the JSON says it, or as it is written."""

import json
import re
from collections.abc import Callable, Iterable
from typing import Final

import orjson

from llmtrace.domain.parts import Path
from llmtrace.policy.masking import apply
from llmtrace.providers.editing import edit
from llmtrace.providers.leaves import strings

MAX_SPANS: Final = 64
"""Spans that are cut out of arguments as they are written; more are no oversight."""
_NUMBER: Final = re.compile(r"-?[0-9][-+.0-9Ee]*")


def each_text(arguments: str, change: Callable[[str], str]) -> str:
    """Return arguments with each text changed: values, names of members, and long numbers.

    What is no JSON is one text.

    Raises:
        EditFailed: A text is to change that cannot, such as that of a member that stands twice.
    """
    try:
        document = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return change(arguments)
    edits: dict[Path, str] = {}
    texts: dict[Path, str] = {}
    for path, text in strings(document, numbers=True):
        changed = change(text)
        if changed != text:
            edits[path], texts[path] = changed, text
    if not edits:
        return arguments
    if () in edits:
        return json.dumps(edits[()])
    written = arguments.encode("utf-8", "surrogatepass")
    return edit(written, edits, expected=texts).decode()


def cut(arguments: str, spans: Iterable[tuple[int, int, str]]) -> str | None:
    """Return arguments with other texts for spans of them as they are written.

    A number becomes a string. None where that cannot be done and leave JSON what it is.
    """
    ordered = sorted(spans, reverse=True)
    if len(ordered) > MAX_SPANS:
        return None
    for start, end, new in ordered:
        ways = [new, f'"{new}"'] if _NUMBER.fullmatch(arguments, start, end) else [new]
        written = (apply(arguments, [(start, end, way)]) for way in ways)
        done = next((one for one in written if _is_json(one)), None)
        if done is None:
            return None
        arguments = done
    return arguments


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True
