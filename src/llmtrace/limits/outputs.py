"""How much a call may write: what it asks for, what it is allowed, or what its model can."""

from typing import Final, NamedTuple

from llmtrace.config.limits import TokenCap
from llmtrace.domain.parts import location
from llmtrace.limits.asked import Asked, Place
from llmtrace.limits.prompts import Prompt
from llmtrace.limits.refusals import Refused, not_priced, token_cap_exceeded
from llmtrace.providers.ceilings import LARGEST_INPUT

IMAGE_TOKENS: Final = 16_384
"""Tokens of a picture that is made, at most: 6,240 of the largest at OpenAI, with room."""
OTHER_OUTPUT: Final = 4_096
"""Tokens that the answer of a call which is no chat is held to have."""
HEARD_OUTPUT: Final = 16_384
"""Tokens of what is heard: 25 minutes at most, and 10 tokens a second."""
SPOKEN_PER_BYTE: Final = 8
"""Tokens of sound for a byte that is to be read aloud: 21 a second, at a quarter of the speed."""
SHORT: Final = 16
"""Tokens of a completion that sets no most, at ``_SHORT_AT``."""
_SHORT_AT: Final = frozenset({"openai", "azure", "vllm"})
_LEAST_ROOM: Final = 256

CHATS: Final = frozenset({"chat", "completion"})
SILENT: Final = frozenset({"embeddings", "moderation"})
"""Operations whose answers cost nothing."""


class Output(NamedTuple):
    """Tokens of each of so many answers, and a limit that is to be put into the call."""

    each: int
    choices: int = 1
    put: tuple[Place, int] | None = None

    @property
    def tokens(self) -> int:
        """All of them."""
        return self.each * self.choices


class Writer(NamedTuple):
    """Who answers: what is known of the model, and whether the call can be changed.

    ``most`` are the tokens of one answer at most and ``window`` those that the model can be
    given, None where that is not known; ``default`` is what an operator holds answers to have.
    """

    provider: str
    model: str
    dialect: str
    operation: str
    most: int | None
    window: int | None
    default: int
    editable: bool
    strict: bool
    spoken: int | None = None
    """Bytes that are to be read aloud at most, None where nothing is."""


def decide(asked: Asked | None, prompt: Prompt, writer: Writer, cap: TokenCap) -> Output | Refused:
    """Return how much a call may write, or why it must not go.

    Args:
        asked: What it asks for; None where nobody knows how it would say it.
        prompt: What it sends.
        writer: Who answers.
        cap: How many tokens it may have.
    """
    choices = asked.choices if asked else 1
    if writer.operation not in CHATS:
        each = 0 if writer.operation in SILENT else _beside(writer)
        output = Output(each=each, choices=choices)
    elif asked and asked.limit is not None:
        output = Output(each=min(asked.limit, _largest(writer)), choices=choices)
    elif writer.dialect == "openai.completions" and writer.provider in _SHORT_AT:
        output = Output(each=SHORT, choices=choices)
    else:
        return _unasked(asked, prompt, writer, cap)
    return _exceeding(output, prompt, cap) or output


def _largest(writer: Writer) -> int:
    """Return how long an answer can be, whatever is asked for.

    What is known of a model may be less than what it can, so nothing is proved by it.
    """
    if writer.most is not None and not writer.strict:
        return writer.most
    return writer.window or LARGEST_INPUT


def _beside(writer: Writer) -> int:
    """Return the tokens of an answer that is no chat's."""
    if writer.operation == "images":
        return IMAGE_TOKENS
    if writer.operation != "audio" or not writer.strict:
        return OTHER_OUTPUT
    if writer.spoken is None:
        return min(HEARD_OUTPUT, _largest(writer))
    return min(OTHER_OUTPUT + SPOKEN_PER_BYTE * writer.spoken, _largest(writer))


def _exceeding(output: Output, prompt: Prompt, cap: TokenCap) -> Refused | None:
    """Return why a call has too many tokens, None if it has not."""
    for kind, limit, has in (
        ("prompt", cap.max_prompt_tokens, prompt.likely),
        ("completion", cap.max_completion_tokens, output.tokens),
        ("total", cap.max_total_tokens, prompt.likely + output.tokens),
    ):
        if limit is not None and has > limit:
            return token_cap_exceeded(kind=kind, limit=limit, asked=has)
    return None


def _unasked(
    asked: Asked | None, prompt: Prompt, writer: Writer, cap: TokenCap
) -> Output | Refused:
    """Decide for a call that sets no most itself."""
    choices = asked.choices if asked else 1
    refused = _exceeding(Output(each=1, choices=choices), prompt, cap)
    if refused is not None:
        return refused
    allowed = _allowed(prompt, choices, cap)
    natural = min(writer.default, _largest(writer)) if writer.most is None else writer.most
    each = natural if allowed is None else min(natural, allowed)
    if allowed is None and not writer.strict:
        return Output(each=each, choices=choices)
    if asked is not None and writer.editable:
        room = (writer.window or LARGEST_INPUT) - prompt.likely
        each = min(each, room) if room >= _LEAST_ROOM else each
        return Output(each=each, choices=choices, put=(asked.own, each))
    return _unchanged(asked, prompt, writer, cap, Output(each=each, choices=choices))


def _allowed(prompt: Prompt, choices: int, cap: TokenCap) -> int | None:
    """Return how many tokens each answer may have, 1 at least; None where there is no cap."""
    rooms = [
        cap.max_completion_tokens,
        None if cap.max_total_tokens is None else cap.max_total_tokens - prompt.likely,
    ]
    return min((room // choices for room in rooms if room is not None), default=None)


def _unchanged(
    asked: Asked | None, prompt: Prompt, writer: Writer, cap: TokenCap, output: Output
) -> Output | Refused:
    """Decide for a call that sets no most, and cannot be given one."""
    natural = Output(each=writer.most or _largest(writer), choices=output.choices)
    if _exceeding(natural, prompt, cap) is not None:
        where = location(asked.own) if asked else ""
        return token_cap_exceeded(
            kind="completion", limit=output.tokens, asked=natural.tokens, param=where
        )
    if not writer.strict:
        return output
    if writer.most is None and writer.window is None:
        return not_priced(
            provider=writer.provider,
            model=writer.model,
            operation=writer.operation,
            reason="it sets no most of output tokens, and cannot be given one",
            advice="Set one in the call",
        )
    return natural
