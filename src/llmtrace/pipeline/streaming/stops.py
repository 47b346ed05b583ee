"""Why an answer can be stopped, and what its reader is told."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

type Style = Literal["error", "graceful"]
"""How a stopped answer ends: in the dialect's error, or as if the provider had stopped."""

BLOCKED: Final = "llmtrace_blocked"
BLOCKED_TOOL: Final = "llmtrace_blocked_tool"
HELD_TOO_MUCH: Final = "llmtrace_blocked_held_too_much"
UNEDITABLE: Final = "llmtrace_blocked_uneditable"
CALL_WENT_ON: Final = "llmtrace_blocked_call_went_on"
FRAME_TOO_LARGE: Final = "llmtrace_blocked_frame_too_large"
UNREADABLE: Final = "llmtrace_blocked_unreadable"
TOO_LONG: Final = "llmtrace_blocked_too_long"
BROKEN_OFF: Final = "provider_broke_off"

MESSAGES: Final[Mapping[str, str]] = {
    BLOCKED_TOOL: "LLMTrace did not let a tool call through: it is longer than can be judged.",
    HELD_TOO_MUCH: "LLMTrace stopped this answer: it would have had to hold too much of it back.",
    UNEDITABLE: "LLMTrace stopped this answer: it could not be changed as the policy asks.",
    CALL_WENT_ON: "LLMTrace stopped this answer: a tool call went on behind its end.",
    FRAME_TOO_LARGE: "LLMTrace stopped this answer: an event of it is too large to be judged.",
    UNREADABLE: "LLMTrace stopped this answer: it cannot be read.",
    TOO_LONG: "LLMTrace stopped this answer: it is longer than limits.answer_bytes.",
    BROKEN_OFF: "The provider's answer broke off before its end.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """Why an answer was stopped. ``refused``: it was ended in the place of a tool call."""

    code: str
    message: str
    refused: bool = False
    choice: int = 0
    kept_calls: int = 0
    """Tool calls of the choice that stand before the refused one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateBounds:
    """What the gate holds at most of one answer.

    ``text`` is code points of a text that are undecided (what is over that is decided as it
    stands), ``tool_call`` code points of one call's arguments (a longer call is refused),
    ``frames`` bytes of all frames that wait, ``calls`` tool calls that are open at once,
    ``edits`` replacements. Where one of the last three is met, the answer is stopped.
    """

    text: int = (64 << 10) + 512
    tool_call: int = 1 << 20
    frames: int = 4 << 20
    calls: int = 256
    edits: int = 100_000
