"""The dialects by name. A new one is a file, and a line here."""

from collections.abc import Mapping
from typing import Final

from llmtrace.providers.base import Dialect
from llmtrace.providers.generic import GenericDialect

GENERIC: Final[Dialect] = GenericDialect()
"""What reads a route that no dialect knows."""

DIALECTS: Final[Mapping[str, Dialect]] = {dialect.name: dialect for dialect in (GENERIC,)}


def dialect(name: str) -> Dialect:
    """Return the dialect of this name, or the generic one."""
    return DIALECTS.get(name, GENERIC)
