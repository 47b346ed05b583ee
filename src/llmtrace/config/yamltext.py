"""Reads YAML into a tree, bounded, and knows at which line each key stands."""

import re
from collections.abc import Iterator
from typing import Any, Final

import yaml

MAX_NODES: Final = 20_000
MAX_DEPTH: Final = 50
_ALIAS: Final = re.compile(r"(?<=alias ).*")

type Tree = dict[str, Any]
type Key = tuple[str, ...]


class BadYaml(ValueError):
    """The text cannot be used. ``line`` counts from 1, None where it is of no one line."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


def read_value(text: str) -> object:
    """Read any YAML value. Raises: BadYaml."""
    value, _ = _read(text)
    return value


def read_tree(text: str) -> tuple[Tree, dict[Key, int]]:
    """Read a mapping, and the line of each of its keys; an item of a list has its number as key.

    Raises:
        BadYaml: It is no YAML, no mapping, names a key twice, or is over a bound.
    """
    tree, node = _read(text)
    if tree is None:
        return {}, {}
    if not isinstance(tree, dict):
        raise BadYaml(f"expected a mapping of sections, found a {type(tree).__name__}")
    lines: dict[Key, int] = {}
    for key, line in _keys(node, ()):
        if key in lines:
            name = ".".join(key)
            raise BadYaml(f"{name} stands twice (first in line {lines[key]})", line)
        lines[key] = line
    return tree, lines


def _read(text: str) -> tuple[Any, yaml.Node | None]:
    if line := _unprintable(text):
        raise BadYaml("this is not YAML: a control character stands here", line)
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None, None
        _count(node)
        return loader.construct_document(node), node
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, BadYaml):
            raise
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else None
        raise BadYaml(f"this is not YAML: {_problem(error)}", line) from None
    finally:
        loader.dispose()


def _problem(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deep"
    problem = str(getattr(error, "problem", None) or "a value cannot be read")
    if problem.startswith("but "):
        problem = f"{getattr(error, 'context', '')}, {problem}"
    return _ALIAS.sub("", problem).strip()  # what stands for an alias may be a secret


def _unprintable(text: str) -> int | None:
    """Return the line of the first character that YAML does not allow."""
    found = yaml.reader.Reader.NON_PRINTABLE.search(text)
    return text.count("\n", 0, found.start()) + 1 if found else None


def _count(root: yaml.Node) -> None:
    """Refuse what aliases make too large or endless, before anybody walks through it.

    Source: "billion laughs", https://en.wikipedia.org/wiki/Billion_laughs_attack
    """
    waiting = [(root, 1)]
    seen = 0
    while waiting:
        node, depth = waiting.pop()
        seen += 1
        if seen > MAX_NODES or depth > MAX_DEPTH:
            raise BadYaml(
                f"more than {MAX_NODES} values or {MAX_DEPTH} levels, aliases written out; "
                "is this the right file?"
            )
        if isinstance(node, yaml.MappingNode):
            waiting += [(part, depth + 1) for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += [(part, depth + 1) for part in node.value]


def _keys(node: yaml.Node | None, prefix: Key) -> Iterator[tuple[Key, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            path = (*prefix, str(key.value))
            yield path, key.start_mark.line + 1
            yield from _keys(value, path)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            path = (*prefix, str(index))
            yield path, item.start_mark.line + 1
            yield from _keys(item, path)
