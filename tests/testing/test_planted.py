import asyncio
import json

import pytest

from llmtrace.testing.planted import FAULTS, called, create, item, said

STREAM = """data: {"choices": [{"delta": {"content": "It is "}}]}

data: {"choices": [{"delta": {"content": "ten."}}]}

data: {"choices": [{"delta": {"tool_calls": [{"function": {"arguments": "{}"}}]}}]}

data: [DONE]
"""


def test_a_streamed_answer_is_put_together() -> None:
    assert said(STREAM) == "It is ten."
    assert called(STREAM) == "{}"


def test_messages_are_those_of_the_api() -> None:
    assert json.loads(create("hi", wrapped=True))["response"]["input"] == "hi"
    assert json.loads(create("hi"))["type"] == "response.create"
    assert json.loads(item("out", "tool"))["item"]["type"] == "function_call_output"
    assert json.loads(item("hi"))["item"]["content"][0]["text"] == "hi"


@pytest.mark.parametrize(
    ("kind", "raised"),
    [
        ("exception", ValueError),
        ("timeout", TimeoutError),
        ("memory", MemoryError),
        ("cancelled", asyncio.CancelledError),
    ],
)
def test_a_fault_fails_whatever_it_is_given(kind: str, raised: type[BaseException]) -> None:
    with pytest.raises(raised):
        FAULTS[kind]()(1, more=2)


def test_a_wrong_type_is_no_answer() -> None:
    assert type(FAULTS["wrong-type"]()()) is object
