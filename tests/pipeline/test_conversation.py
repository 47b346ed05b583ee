import json

from llmtrace.domain.answers import Answer, Channel, ChannelKind, ToolCall
from llmtrace.domain.parts import ORIGIN_OF, Part, Role
from llmtrace.pipeline.conversation import Conversations
from llmtrace.providers.base import RequestView


def view(*messages: tuple[Role, str], previous: str = "") -> RequestView:
    parts = [
        Part(role=role, origin=ORIGIN_OF[role], path=("messages", i, "content"), text=text)
        for i, (role, text) in enumerate(messages)
    ]
    return RequestView(parts=parts, previous_response_id=previous)


def said(text: str, response_id: str = "", calls: tuple[ToolCall, ...] = ()) -> Answer:
    return Answer(
        texts={Channel(0, ChannelKind.TEXT): text}, response_id=response_id, tool_calls=calls
    )


SYSTEM, USER, ASSISTANT = Role.SYSTEM, Role.USER, Role.ASSISTANT


def test_turns_that_resend_the_history_are_one_conversation() -> None:
    known = Conversations()
    first = known.begin("t", "", view((SYSTEM, "Be brief."), (USER, "Hello")))
    assert (first.conversation, first.turn) == ("", 1)
    name = known.finish(first, said("Hi there "))
    second = Conversations().begin(  # another worker
        "t", "", view((SYSTEM, "Be brief. It is noon."), (USER, "Hello"), (ASSISTANT, "Hi there"))
    )
    assert (second.conversation, second.turn) == (name, 2)


def test_the_same_opening_with_another_answer_is_another_conversation() -> None:
    known = Conversations()
    one = known.finish(known.begin("t", "", view((USER, "Hello"))), said("Hi"))
    two = known.finish(known.begin("t", "", view((USER, "Hello"))), said("Good day"))
    assert one != two


def test_tenants_and_sessions_keep_conversations_apart() -> None:
    known = Conversations()
    names = {
        known.finish(known.begin(tenant, session, view((USER, "Hello"))), said("Hi"))
        for tenant, session in [("a", ""), ("b", ""), ("a", "s1")]
    }
    assert len(names) == 3


def test_a_call_that_names_its_parent_response_goes_on_with_it() -> None:
    known = Conversations()
    name = known.finish(known.begin("t", "", view((USER, "Hello"))), said("Hi", "resp_1"))
    second = known.begin("t", "", view((USER, "And now?"), previous="resp_1"))
    assert (second.conversation, second.turn) == (name, 2)


def test_a_sub_agent_is_known_by_the_task_it_was_given() -> None:
    task = "Read every file below src and report what it does."
    call = ToolCall(
        channel=Channel(0, ChannelKind.TOOL_CALL),
        call_id="c",
        name="Task",
        arguments=json.dumps({"prompt": task}),
    )
    known = Conversations()
    name = known.finish(known.begin("t", "", view((USER, "Explain"))), said("", calls=(call,)))
    assert known.begin("t", "", view((SYSTEM, "You search."), (USER, task))).parent == name


def test_memory_is_bounded() -> None:
    known = Conversations(size=2)
    for number in range(3):
        known.finish(known.begin("t", "", view((USER, "x"))), said("y", f"resp_{number}"))
    assert known.begin("t", "", view((USER, "z"), previous="resp_0")).conversation == ""
    assert known.begin("t", "", view((USER, "z"), previous="resp_2")).conversation != ""
