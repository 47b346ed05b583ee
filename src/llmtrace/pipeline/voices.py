"""Whose words the channels of an answer carry, and what they are called."""

from collections.abc import Mapping
from typing import Final

from llmtrace.analyzers.base import Context, Direction
from llmtrace.domain.answers import Channel, ChannelKind
from llmtrace.domain.parts import ORIGIN_OF, Role

_SIGNED_REASONING: Final = frozenset(
    {"anthropic.messages", "bedrock.converse", "bedrock.invoke", "gemini.generate"}
)
"""Dialects whose providers sign the reasoning, and want it back as it was."""
_ROLES: Final[Mapping[ChannelKind, Role]] = {
    ChannelKind.TOOL_CALL: Role.TOOL_CALL,
    ChannelKind.TOOL_RESULT: Role.TOOL_RESULT,
}


def is_signed(dialect: str, channel: Channel) -> bool:
    """Whether a channel's text is signed by the provider, in a dialect."""
    return channel.kind is ChannelKind.REASONING and dialect in _SIGNED_REASONING


def context_of(channel: Channel) -> Context:
    """Return whose words a channel of an answer carries."""
    role = _ROLES.get(channel.kind, Role.ASSISTANT)
    return Context(role, ORIGIN_OF[role], Direction.ANSWER)


def location_of(channel: Channel) -> str:
    """Write a channel as people read it: ``answer[0].text[0]``."""
    return f"answer[{channel.choice}].{channel.kind}[{channel.index}]"
