"""Has frozen values frozen at run time, where otherwise only type checkers refuse to write to one.

To be imported before all that declares values: see ``domain.values``.
"""

from llmtrace.domain.values import Freezing


def freeze() -> None:
    """Freeze the values that will be declared.

    Raises:
        RuntimeError: Some were declared before.
    """
    if Freezing.declared and not Freezing.indeed:
        raise RuntimeError(f"{Freezing.declared} values were declared before they could be frozen")
    Freezing.indeed = True
