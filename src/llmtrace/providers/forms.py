"""Reads from a form (``multipart/form-data``, RFC 7578) which model it asks for.

Transcriptions and edits of pictures come as forms; their answers do not say who answered. A
field begins right after the boundary, which no file in the form can contain.
"""

import re
from collections.abc import Iterator
from email.message import Message
from typing import Final

MAX_BOUNDARY: Final = 70
"""Characters of a boundary (RFC 2046, section 5.1.1)."""
MAX_MODEL: Final = 200

MAX_FIELDS: Final = 1_000
SLICE: Final = 1 << 20

_MODEL: Final = re.compile(
    rb"\r\n(?:content-type:[^\r\n]{0,200}\r\n)?"
    rb'content-disposition:[ \t]*form-data;[ \t]*name="?model"?[ \t]*\r\n'
    rb"(?:content-type:[^\r\n]{0,200}\r\n)?\r\n([^\r\n]{1,%d})\r\n--" % MAX_MODEL,
    re.IGNORECASE,
)


def model_of_form(content: bytes, media_type: str) -> str:
    """Return the model that a form names, nothing where it names none, or more than one."""
    mark = _mark(media_type)
    found = set()
    for number, at in enumerate(_fields(content, mark) if mark else ()):
        if number == MAX_FIELDS:
            return ""
        if field := _MODEL.match(content, at):
            found.add(field[1])
    return found.pop().decode("utf-8", "replace").strip() if len(found) == 1 else ""


def _fields(content: bytes, mark: bytes) -> Iterator[int]:
    """Go through the places where a field begins. In slices, so that other threads can run."""
    at = 0
    while at < len(content):
        end = at + SLICE
        found = content.find(mark, at, end + len(mark) - 1)
        at = end if found < 0 else found + len(mark)
        if found >= 0:
            yield at


def _mark(media_type: str) -> bytes:
    """Return what stands before each field of a form, nothing where it is no form."""
    if not media_type.lower().startswith("multipart/form-data"):
        return b""
    header = Message()
    header["content-type"] = media_type
    boundary = header.get_boundary("")
    return b"--" + boundary.encode() if 0 < len(boundary) <= MAX_BOUNDARY else b""
