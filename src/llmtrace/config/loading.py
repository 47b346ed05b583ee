"""Reads the configuration: command line over ``LLMTRACE_*`` over file over defaults."""

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Final, TypeAliasType, TypeGuard, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from llmtrace.config.models import Config
from llmtrace.config.yamltext import BadYaml, Key, Tree, read_tree, read_value

ALIASES: Final[Mapping[str, Key]] = {
    "LLMTRACE_LOG_LEVEL": ("logging", "level"),
    "LLMTRACE_LOG_FORMAT": ("logging", "format"),
    "LLMTRACE_LISTEN_ADDR": ("listen",),
}
NOT_KEYS: Final = frozenset(
    {
        "LLMTRACE_HOME",
        "LLMTRACE_CONFIG",
        "LLMTRACE_PYTHON",
        "LLMTRACE_RUN_ID",
        "LLMTRACE_URL",
        "LLMTRACE_KEY",
    }
)
"""Variables that are about something else than the configuration."""

PREFIX: Final = "LLMTRACE_"
MAX_FILE_BYTES: Final = 256 * 1024
_STEP: Final = re.compile(r"[^.\[\]]+")
_MESSAGES: Final[Mapping[str, str]] = {
    "model_type": "expected a mapping of keys",
    "dict_type": "expected a mapping",
    "list_type": "expected a list",
    "bool_parsing": "expected true or false",
    "bool_type": "expected true or false",
    "string_type": "expected a text; put it into quotes",
    "decimal_type": "expected dollars as a number, such as 20",  # all decimals are money
    "decimal_parsing": "expected dollars as a number, such as 20",
}
"""What people read where pydantic speaks of its own types, by its error type."""


class ConfigError(ValueError):
    """The configuration cannot be used. The message has one line per fault."""


def load(
    path: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
) -> Config:
    """Read and check a configuration.

    Args:
        path: A YAML file, None for defaults.
        environ: The environment, ``os.environ`` unless given. An empty variable says nothing.
        overrides: Dotted key → value, from the command line. None values are left out.

    Raises:
        ConfigError: Something in it cannot be used; all faults are named.
    """
    source = str(path) if path else "configuration"
    tree, lines = parse(_read(path) if path else "", source)
    places = {key: f"{source}:{line}" for key, line in lines.items()}
    faults: list[str] = []
    for name, key, value in _from_environment(os.environ if environ is None else environ, faults):
        _set(tree, key, value)
        places[key] = f"environment: {name}"
    for dotted, value in (overrides or {}).items():
        if value is not None:
            key = tuple(dotted.split("."))
            _set(tree, key, value)
            places[key] = "command line"
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        # The values may be secrets: only places and reasons are told.
        faults += [_explain(detail, source, places) for detail in error.errors(include_url=False)]
        raise ConfigError("\n".join(faults)) from None
    if faults:
        raise ConfigError("\n".join(faults))
    return config


def parse(text: str, source: str) -> tuple[Tree, dict[Key, int]]:
    """Read YAML into a tree, and note at which line each key stands.

    Raises:
        ConfigError: It is no YAML, no mapping, names a key twice, or is over a bound.
    """
    try:
        tree, lines = read_tree(text)
    except BadYaml as error:
        where = f"{source}:{error.line}" if error.line else source
        raise ConfigError(f"{where}: {error}") from None
    for name in SECTIONS & tree.keys():
        if tree[name] is None:  # a section of comments alone
            tree[name] = {}
    return tree, lines


def located(fault: str, path: Path | None, *, environ: Mapping[str, str] | None = None) -> str:
    """Put file and line before a fault that begins with its key, if it is the file that sets it.

    Args:
        fault: Such as ``policy.rules[0].kinds: …``, about a configuration that loads.
        path: As ``load``.
        environ: As ``load``.

    Raises:
        ConfigError: The file cannot be read any more.
    """
    key = tuple(_STEP.findall(fault.partition(":")[0]))
    set_here = _from_environment(os.environ if environ is None else environ, [])
    if path is None or any(set_[: len(key)] == key[: len(set_)] for _, set_, _ in set_here):
        return fault
    _, lines = parse(_read(path), str(path))
    line = next((lines[key[:n]] for n in range(len(key), 0, -1) if key[:n] in lines), None)
    return fault if line is None else f"{path}:{line}: {fault}"


def leaves(model: type[BaseModel] = Config, prefix: Key = ()) -> Iterator[Key]:
    """Go through all keys that hold a value."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from leaves(field.annotation, (*prefix, name))
        else:
            yield (*prefix, name)


def variable(key: Key) -> str:
    """Return the environment variable of a key: ``LLMTRACE_STORAGE_PROFILE``."""
    return "_".join(("LLMTRACE", *key)).upper()


SECTIONS: Final = frozenset(key[0] for key in leaves() if len(key) > 1)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"{path}: longer than {MAX_FILE_BYTES} bytes; is this the right file?")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8 text"
        ) from None


def _from_environment(
    environ: Mapping[str, str], faults: list[str]
) -> Iterator[tuple[str, Key, object]]:
    known = {**{variable(key): key for key in leaves()}, **ALIASES}
    for name, text in sorted(environ.items()):
        if not name.startswith(PREFIX) or name in NOT_KEYS or not text:
            continue
        if name not in known:
            faults.append(
                f"environment: {name} is no configuration key."
                + _did_you_mean(name[len(PREFIX) :], [n[len(PREFIX) :] for n in known], PREFIX)
            )
            continue
        try:
            yield name, known[name], _value(known[name], text)
        except BadYaml as error:
            faults.append(f"environment: {name}: {error}")


def _value(key: Key, text: str) -> object:
    """Read a variable: what has parts as YAML, ``null`` where a key may be null, else text."""
    annotation = _section(key[:-1]).model_fields[key[-1]].annotation
    kinds = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    if any(get_origin(kind) in (list, dict) or _is_section(kind) for kind in kinds):
        return read_value(text)
    return None if text == "null" and type(None) in kinds else text


def _set(tree: Tree, key: Key, value: object) -> None:
    for step in key[:-1]:
        inner = tree.setdefault(step, {})
        if not isinstance(inner, dict):
            return  # the file has no mapping here: validation will say so
        tree = inner
    tree[key[-1]] = value


def _explain(detail: ErrorDetails, source: str, places: Mapping[Key, str]) -> str:
    key = tuple(str(step) for step in detail["loc"] if step != "[key]")
    name = _written(key) or "the configuration"
    where = next((places[key[:n]] for n in range(len(key), 0, -1) if key[:n] in places), source)
    if detail["type"] == "extra_forbidden":
        beside = _section(key[:-1]).model_fields
        hint = _did_you_mean(key[-1], beside, name.removesuffix(key[-1]))
        return f"{where}: {name} is no configuration key.{hint}"
    message = detail["msg"].removeprefix("Value error, ")
    message = _MESSAGES.get(detail["type"], message[:1].lower() + message[1:])
    return f"{where}: {name}: {message}"


def _section(key: Key) -> type[BaseModel]:
    """Return the model at a key, an empty one where there is none."""
    *_, here = _kinds(key)
    return here if _is_section(here) else BaseModel


def _is_section(kind: object) -> TypeGuard[type[BaseModel]]:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _written(key: Key) -> str:
    """Write a key as people read it: ``policy.rules[0].kinds``."""
    steps = zip(key, _kinds(key), strict=False)  # a step, and what it is a step into
    parts = [f"[{step}]" if get_origin(kind) is list else f".{step}" for step, kind in steps]
    return "".join(parts).removeprefix(".")


def _kinds(key: Key) -> Iterator[object]:
    """Go down a key: the annotation of each place on the way, the whole first."""
    kind: object = Config
    yield kind
    for step in key:
        if _is_section(kind):
            field = kind.model_fields.get(step)
            kind = field.annotation if field else None
        else:  # an item of a list, or an entry of a mapping
            kind = next(reversed(get_args(kind)), None)
        kind = kind.__value__ if isinstance(kind, TypeAliasType) else kind
        if get_origin(kind) in (Union, UnionType) and (some := set(get_args(kind)) - {type(None)}):
            kind = some.pop() if len(some) == 1 else kind
        yield kind


def _did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    # What all names begin with is left out of the comparison: it would make them all alike.
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean {prefix}{close[0]}?" if close else ""
