from llmtrace.analyzers.base import Direction
from llmtrace.domain.answers import Channel, ChannelKind
from llmtrace.domain.parts import Origin, Role
from llmtrace.pipeline.voices import context_of, is_signed, location_of


def test_a_channel_is_named_by_its_choice_and_kind() -> None:
    assert location_of(Channel(1, ChannelKind.TOOL_CALL)) == "answer[1].tool_call[0]"


def test_results_of_the_providers_own_tools_are_of_nobody_trusted() -> None:
    results = context_of(Channel(0, ChannelKind.TOOL_RESULT))
    assert (results.role, results.origin) == (Role.TOOL_RESULT, Origin.UNTRUSTED)
    said = context_of(Channel(0, ChannelKind.TEXT))
    assert (said.role, said.direction) == (Role.ASSISTANT, Direction.ANSWER)


def test_reasoning_is_signed_where_its_provider_signs_it() -> None:
    reasoning = Channel(0, ChannelKind.REASONING)
    assert is_signed("anthropic.messages", reasoning)
    assert not is_signed("openai.chat", reasoning)
    assert not is_signed("anthropic.messages", Channel(0, ChannelKind.TEXT))
