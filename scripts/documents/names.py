"""The names of the code: what a document may call something in it."""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

Scopes = Mapping[str, frozenset[str]]
"""Name of a class or module → what is defined in it."""


def scopes(files: Iterator[Path]) -> Scopes:
    """Return what each module and each class defines; of several with one name, all of them."""
    found: dict[str, set[str]] = defaultdict(set)
    for file in files:
        name = file.parent.name if file.stem == "__init__" else file.stem
        tree = ast.parse(file.read_bytes())
        found[name] |= set(_defined(tree.body))
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                found[node.name] |= set(_defined(node.body))
    return {name: frozenset(names) for name, names in found.items()}


def _defined(body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))


def exists(name: str, known: Scopes) -> bool:
    """Whether ``Class.method``, ``module.function``, or a bare name is there."""
    *owner, last = name.split(".")
    if owner:
        return last in known.get(owner[-1], ())
    return name in known or any(name in names for names in known.values())
