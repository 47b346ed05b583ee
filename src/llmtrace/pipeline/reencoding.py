"""Changes texts that stand in a request in base64: text documents."""

import base64
from collections.abc import Mapping

import orjson

from llmtrace.domain.parts import Path
from llmtrace.pipeline.credentials import value_at


def as_written(
    content: bytes, edits: Mapping[Path, str], texts: Mapping[Path, str]
) -> tuple[dict[Path, str], dict[Path, str]]:
    """Return edits and the texts that were read as the document writes them.

    Where the base64 of a text stands and not the text, the edit is that of the changed one. What
    stands there otherwise is left to ``edit``.
    """
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:  # what is lenient elsewhere
        body = None
    written, read = dict(edits), dict(texts)
    for path, text in texts.items():
        raw = value_at(body, path)
        if path in edits and isinstance(raw, str) and raw != text and _says(raw, text):
            changed = edits[path].encode("utf-8", "surrogatepass")
            written[path], read[path] = base64.b64encode(changed).decode(), raw
    return written, read


def _says(raw: str, text: str) -> bool:
    """Whether a string is the base64 of a text and of nothing else."""
    try:
        return base64.b64decode(raw, validate=True) == text.encode()
    except ValueError:
        return False
