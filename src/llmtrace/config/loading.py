"""Reads the configuration: command line over ``LLMTRACE_*`` over file over defaults."""

import difflib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from llmtrace.config.models import Config

ALIASES: Final = {
    "LLMTRACE_LOG_LEVEL": ("logging", "level"),
    "LLMTRACE_LOG_FORMAT": ("logging", "format"),
    "LLMTRACE_LISTEN_ADDR": ("listen",),
}
NOT_KEYS: Final = frozenset({"LLMTRACE_HOME", "LLMTRACE_CONFIG", "LLMTRACE_RUN_ID", "LLMTRACE_URL"})
MAX_FILE_BYTES: Final = 1 << 20

type Tree = dict[str, Any]
type Key = tuple[str, ...]


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
        environ: The environment, ``os.environ`` unless given.
        overrides: Dotted key → value, from the command line. None values are left out.

    Raises:
        ConfigError: Something in it cannot be used; all faults are named.
    """
    text = _read(path) if path else ""
    source = str(path) if path else "configuration"
    tree, lines = parse(text, source)
    faults: list[str] = []
    for key, value in _from_environment(os.environ if environ is None else environ, faults):
        _set(tree, key, value)
    for dotted, value in (overrides or {}).items():
        if value is not None:
            _set(tree, tuple(dotted.split(".")), value)
    if faults:
        raise ConfigError("\n".join(faults))
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        # The values may be secrets: only places and reasons are told.
        faults = [_explain(detail, source, lines) for detail in error.errors(include_url=False)]
        raise ConfigError("\n".join(faults)) from None


def parse(text: str, source: str) -> tuple[Tree, dict[Key, int]]:
    """Read YAML into a tree, and note at which line each key stands.

    Raises:
        ConfigError: It is no YAML, no mapping, or names a key twice.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        tree = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{source}:{mark.line + 1}" if mark else source
        problem = getattr(error, "problem", None) or type(error).__name__
        raise ConfigError(f"{where}: this is not YAML: {problem}") from None
    if tree is None:
        return {}, {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{source}: expected a mapping of sections, found {type(tree).__name__}")
    lines: dict[Key, int] = {}
    for key, line in _walk(node, ()):
        if key in lines:
            raise ConfigError(
                f"{source}:{line}: {'.'.join(key)} stands twice (first in line {lines[key]})"
            )
        lines[key] = line
    return tree, lines


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
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}") from None


def _walk(node: yaml.Node | None, prefix: Key) -> Iterator[tuple[Key, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            path = (*prefix, str(key.value))
            yield path, key.start_mark.line + 1
            yield from _walk(value, path)


def _from_environment(
    environ: Mapping[str, str], faults: list[str]
) -> Iterator[tuple[Key, object]]:
    known = {variable(key): key for key in leaves()} | ALIASES
    for name, text in sorted(environ.items()):
        if not name.startswith("LLMTRACE_") or name in NOT_KEYS:
            continue
        if name not in known:
            faults.append(
                f"environment: {name} is no configuration key.{_did_you_mean(name, known)}"
            )
            continue
        key = known[name]
        yield key, _value(text) if _structured(key) else text


def _structured(key: Key) -> bool:
    """Whether a key takes more than a scalar, so that its variable is read as YAML."""
    annotation = _section(key[:-1]).model_fields[key[-1]].annotation
    kinds = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return any(get_origin(kind) in (list, dict) or kind is type(None) for kind in kinds)


def _value(text: str) -> object:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _set(tree: Tree, key: Key, value: object) -> None:
    for step in key[:-1]:
        inner = tree.setdefault(step, {})
        if not isinstance(inner, dict):
            return  # the file has no mapping here: validation will say so
        tree = inner
    tree[key[-1]] = value


def _explain(detail: ErrorDetails, source: str, lines: Mapping[Key, int]) -> str:
    key = tuple(str(step) for step in detail["loc"])
    place = next((lines[key[:n]] for n in range(len(key), 0, -1) if key[:n] in lines), None)
    where = f"{source}:{place}" if place else source
    name = ".".join(key) or "the configuration"
    if detail["type"] == "extra_forbidden":
        hint = _did_you_mean(key[-1], list(_section(key[:-1]).model_fields))
        return f"{where}: {name} is no configuration key.{hint}"
    message = detail["msg"].removeprefix("Value error, ")
    return f"{where}: {name}: {message[:1].lower()}{message[1:]}"


def _section(key: Key) -> type[BaseModel]:
    """Return the model at a key, an empty one where there is none."""
    model: type[BaseModel] = Config
    for step in key:
        field = model.model_fields.get(step)
        inner = field.annotation if field else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return BaseModel
        model = inner
    return model


def _did_you_mean(name: str, known: Mapping[str, object] | list[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean {close[0]}?" if close else ""
