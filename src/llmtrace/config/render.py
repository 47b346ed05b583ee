"""Writes the example file and the reference of all keys from the models themselves."""

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from types import NoneType
from typing import Any, Final, Literal, TypeAliasType, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from llmtrace.config.loading import ALIASES, variable
from llmtrace.config.models import Config
from llmtrace.config.yamltext import Key

WIDTH: Final = 96
_EACH: Final[Mapping[object, str]] = {list: "[]", dict: ".NAME"}

EXAMPLE_HEAD: Final = """\
# LLMTrace configuration. Every key is here with its default; a file needs only what differs.
# Precedence: command line, then LLMTRACE_* variables, then this file, then the defaults.
# Rendered from src/llmtrace/config/models.py by scripts/docs; do not edit.
"""

REFERENCE_HEAD: Final = """\
# Configuration

Precedence: command line over `LLMTRACE_*` over the file over the defaults. A key that nobody
reads is an error, so that a typing slip does not turn a protection off. Check a file with
`llmtrace validate --config FILE`, which exits with 2 and names the line and the key.

A variable that is empty counts as not set. One for a list or a mapping is read as YAML:
`LLMTRACE_INTERCEPT_EXCLUDE='[api.example.com]'`; `null` turns off what can be turned off.

<!-- Rendered from src/llmtrace/config/models.py by scripts/docs; do not edit. -->
"""


def example() -> str:
    """Return ``config.example.yaml``: all keys, documented, with their defaults."""
    return EXAMPLE_HEAD + "".join(_example(Config, 0))


def reference() -> str:
    """Return ``docs/configuration.md``."""
    lines = [REFERENCE_HEAD]
    lines += ["\n## Top level\n\n", *_rows(Config, ())]
    for key, section in _sections(Config):
        title = (section.__doc__ or "").strip()
        lines += [f"\n## `{'.'.join(key)}`\n\n{_flow(title)}\n\n", *_rows(section, key)]
    return "".join(lines)


def _example(model: type[BaseModel], depth: int) -> Iterator[str]:
    indent = "  " * depth
    for name, field in model.model_fields.items():
        section = _section_of(field)
        yield "\n"
        if section:
            yield from _comment(_flow(section.__doc__ or ""), indent)
            yield f"{indent}{name}:\n"
            yield from _example(section, depth + 1)
        else:
            yield from _comment(_flow(field.description or ""), indent)
            yield f"{indent}{name}: {_literal(field)}\n"


def _rows(model: type[BaseModel], prefix: Key) -> Iterator[str]:
    yield "| key | default | variable | |\n|---|---|---|---|\n"
    for name, field in model.model_fields.items():
        if _section_of(field) is None:
            key = (*prefix, name)
            names = [variable(key), *(name for name, its in ALIASES.items() if its == key)]
            variables = ", ".join(f"`{name}`" for name in names)
            yield f"| `{'.'.join(key)}` | `{_literal(field)}` | {variables} | {_text(field)} |\n"
            yield from _entries(field, key)


def _entries(field: FieldInfo, key: Key) -> Iterator[str]:
    """Rows for the keys of what a mapping or a list holds: a model's prices, a policy's rule."""
    each = _EACH.get(get_origin(field.annotation), "")
    for kind in get_args(field.annotation):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            for name, inner in kind.model_fields.items():
                default = "required" if inner.is_required() else f"`{_literal(inner)}`"
                where = f"{'.'.join(key)}{each}.{name}"
                yield f"| `{where}` | {default} | | {_text(inner)} |\n"


def _sections(model: type[BaseModel], prefix: Key = ()) -> Iterator[tuple[Key, type[BaseModel]]]:
    for name, field in model.model_fields.items():
        section = _section_of(field)
        if section:
            yield (*prefix, name), section
            yield from _sections(section, (*prefix, name))


def _section_of(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _text(field: FieldInfo) -> str:
    """What is said about a key: what it may be, and what it does."""
    text = _flow(field.description or "").replace("|", "\\|")
    values = _values(field.annotation)
    if not values:
        return text
    some = "Any of" if get_origin(field.annotation) is list else "One of"
    return f"{some} {', '.join(f'`{value}`' for value in values)}. {text}"


def _values(annotation: object) -> tuple[object, ...]:
    """Return the values that a key may have, or the items of a list; () where they are many."""
    if isinstance(annotation, TypeAliasType):
        return _values(annotation.__value__)
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    inner = [kind for kind in get_args(annotation) if kind is not NoneType]
    alone = len(inner) == 1 and get_origin(annotation) is not dict
    return _values(inner[0]) if alone else ()


def _literal(field: FieldInfo) -> str:
    default: Any = field.default
    if isinstance(default, Decimal):
        return f"{default:f}"
    text = yaml.safe_dump(default, default_flow_style=True, width=1000)
    return text.removesuffix("...\n").strip()


def _flow(text: str) -> str:
    """Join a docstring's lines, and write its code as Markdown does."""
    return re.sub(r"``(.+?)``", r"`\1`", " ".join(text.split()))


def _comment(text: str, indent: str) -> Iterator[str]:
    line = ""
    for word in text.split():
        if line and len(indent) + len(line) + len(word) + 3 > WIDTH:
            yield f"{indent}# {line}\n"
            line = word
        else:
            line = f"{line} {word}".strip()
    if line:
        yield f"{indent}# {line}\n"
