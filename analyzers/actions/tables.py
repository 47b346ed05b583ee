"""Reads the tables of this room."""

from importlib.resources import files
from typing import Any

import yaml


def table(name: str) -> Any:
    """Return what a YAML file beside this module says. Each reader knows the shape of its own."""
    text = (files("llmtrace.analyzers.actions") / name).read_text(encoding="utf-8")
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
