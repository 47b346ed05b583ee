"""What becomes of a text of which detectors left something out."""

from collections.abc import Callable, Collection, Mapping
from typing import Final

from llmtrace.analyzers.base import LASTING, Hit, Inspection, Skipped

BROKE_OFF: Final = frozenset({"timeout", "failed"})
"""Reasons that say nothing of what there is to find."""
LIMITS: Final = frozenset({"over_limit", *LASTING})
"""Reasons that are no failures: how far a detector reaches, and what it was made for."""


class DetectorFailed(RuntimeError):
    """A detector could not look into a text, for a fault of its own that was told already."""


def is_incomplete(
    made: Inspection, decided: Mapping[str, bool], acts_on: Callable[[Hit], bool]
) -> bool:
    """Whether a detector broke off that is acted on, or of which nothing is known.

    ``decided`` says of each detector that saw something whether that is acted on, ``acts_on``
    whether what it may have missed would be: decoys are no way past a detector. Its limits
    are told, and are no failures.
    """
    return any(_matters(one, decided, acts_on) for one in made.skipped if one.reason not in LIMITS)


def is_partly_read(skipped: Collection[Skipped]) -> bool:
    """Whether something of a text counts as not looked at.

    What one detector was not made for, the others looked at.
    """
    return any(one.reason not in LASTING for one in skipped)


def _matters(one: Skipped, decided: Mapping[str, bool], acts_on: Callable[[Hit], bool]) -> bool:
    if one.missed is not None:
        return decided.get(one.detector, False) or acts_on(one.missed)
    return decided.get(one.detector, one.reason in BROKE_OFF)
