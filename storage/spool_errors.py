"""Which errors of a store are about one record, and what of an error may be logged."""

from typing import Final

from llmtrace.storage.base import StorageError

_ABOUT_A_RECORD: Final[tuple[type[Exception], ...]] = (
    ValueError,
    TypeError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RecursionError,
)


def is_permanent(error: Exception) -> bool:
    """Whether the same record would be refused again.

    Anything else is about the store itself (locked, full, away, damaged, of another version);
    to give up records for that would lose them. A bare ``StorageError`` is a statement that
    failed without being any of these: a constraint, a value too large.
    """
    return isinstance(error, _ABOUT_A_RECORD) or type(error) is StorageError


def describe(error: Exception) -> str:
    """Return a line for logs and status: the message only where it cannot quote a record."""
    name = type(error).__name__
    quotes_nothing = isinstance(error, OSError | StorageError)
    return f"{name}: {str(error)[:200]}" if quotes_nothing else name
