"""Has what writes to a frozen value raise; outside of the tests only type checkers refuse it."""

from dataclasses import FrozenInstanceError
from typing import Any

from llmtrace.domain.values import DECLARED, WATCHERS


def freeze() -> None:
    """Freeze the values that were declared, and those that will be."""
    if _freeze not in WATCHERS:
        WATCHERS.append(_freeze)
    for cls in DECLARED:
        _freeze(cls)


def _freeze(cls: Any) -> None:
    cls.__setattr__, cls.__delattr__ = _set_once, _keep


def _set_once(made: Any, name: str, to: object) -> None:
    if hasattr(made, name) or name not in made.__dataclass_fields__:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")
    object.__setattr__(made, name, to)


def _keep(_made: Any, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")
