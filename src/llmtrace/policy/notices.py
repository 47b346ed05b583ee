"""What people and agents are told when something was stopped: kind and rule, never the text."""

from typing import Final

from llmtrace.analyzers.kinds import kinds

UNKNOWN: Final = "Finding"


def quarantine_notice(kind: str, rule: str) -> str:
    """Return what stands in the place of a text that was set aside: the same on every turn."""
    return (
        f"[LLMTrace set this content aside: {_title(kind)} ({kind}, policy rule {rule}). "
        "The model was not shown it. Go on without it.]"
    )


def block_message(kind: str, rule: str, *, what: str, trace_id: str = "") -> str:
    """Return why something was stopped, and how to learn more.

    Args:
        kind: What was found.
        rule: The row of the policy that decided.
        what: What was stopped, in words: ``request``, ``answer``, ``tool call``.
        trace_id: The call, where it is on record by the time that this is read.
    """
    more = f" See: llmtrace findings show {trace_id}" if trace_id else ""
    return f"LLMTrace blocked this {what}: {_title(kind)} ({kind}, policy rule {rule}).{more}"


def _title(kind: str) -> str:
    known = kinds().get(kind)
    return known.title if known else UNKNOWN
