"""What it means that ONNX Runtime does not load a file, in words of ours."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import onnxruntime

MOST_READ: Final = 1000
"""How many characters of an error are read, from its end: paths stand before."""
DAMAGED: Final = "it is damaged or no ONNX file ({size}); get the file again"
UNKNOWN: Final = (
    "it is damaged or made for another version; get the file again, or a model for ONNX Runtime "
    "{runtime}"
)
_SAID: Final[Sequence[tuple[re.Pattern[str], str]]] = (
    (
        re.compile(
            r"Opset (?P<found>\d{1,9}) is under development"
            r".{1,500} for domain (?P<domain>[\w.]{1,40}) is till opset (?P<most>\d{1,9})\."
        ),
        "it asks for opset {found} of {domain}, ONNX Runtime {runtime} knows up to {most}; export "
        "it for opset {most} or less, or use a newer onnxruntime",
    ),
    (
        re.compile(
            r"Unsupported model IR version: (?P<found>\d{1,9}), "
            r"max supported IR version: (?P<most>\d{1,9})"
        ),
        "it is in version {found} of the format, ONNX Runtime {runtime} knows up to {most}; export "
        "it with an older onnx, or use a newer onnxruntime",
    ),
    (
        re.compile(
            r"No Op registered for (?P<name>\w{1,60}) with domain_version of (?P<found>\d{1,9})"
        ),
        "it has an operator {name} (opset {found}), which ONNX Runtime {runtime} does not know; "
        "export it with standard operators, or use a newer onnxruntime",
    ),
    (re.compile(r"Protobuf parsing failed|No graph was found in the protobuf"), DAMAGED),
    (
        re.compile(r"External (data|initializer)"),
        "its weights, in a file beside it, are missing or cut short; get both files again",
    ),
    (re.compile(r"File doesn't exist"), "it is not there; get the file again"),
)
"""What ONNX Runtime's errors have in them (1.31), and what is said of it."""


def explain(error: Exception, path: Path) -> str:
    """Say what is wrong with a file, and what to do; nothing else of the error is repeated."""
    text = str(error)[-MOST_READ:]
    known = {"runtime": onnxruntime.__version__, "size": _size(path)}
    for pattern, said in _SAID:
        if found := pattern.search(text):
            return said.format(**known, **found.groupdict())
    return UNKNOWN.format(**known)


def _size(path: Path) -> str:
    try:
        return f"{path.stat().st_size} bytes"
    except OSError as error:
        return str(error.strerror)
