"""Histories as the clients of each dialect send them, and whether they run in circles."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.limits import loops as module
from llmtrace.limits.loops import MAX_STEPS, Loop, digest_of, loop_of, results_of

type Step = tuple[str, Any, Any]
"""Tool, arguments, result."""


def anthropic(steps: Sequence[Step]) -> dict[str, Any]:
    messages: list[Any] = [{"role": "user", "content": "do it"}]
    for n, (tool, arguments, result) in enumerate(steps):
        use = {"type": "tool_use", "id": f"toolu_{n}", "name": tool, "input": arguments}
        back = {"type": "tool_result", "tool_use_id": f"toolu_{n}", "content": result}
        last = {"cache_control": {"type": "ephemeral"}} if n == len(steps) - 1 else {}
        messages += [
            {"role": "assistant", "content": [{"type": "text", "text": f"try {n}"}, use]},
            {"role": "user", "content": [back | last]},
        ]
    return {"model": "m", "messages": messages}


def chat(steps: Sequence[Step]) -> dict[str, Any]:
    messages: list[Any] = [{"role": "user", "content": "do it"}]
    for n, (tool, arguments, result) in enumerate(steps):
        function = {"name": tool, "arguments": repr(arguments)}
        call = {"id": f"call_{n}", "type": "function", "function": function}
        messages += [
            {"role": "assistant", "content": f"try {n}", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": f"call_{n}", "content": result},
        ]
    return {"model": "m", "messages": messages}


def responses(steps: Sequence[Step]) -> dict[str, Any]:
    items: list[Any] = [{"role": "user", "content": "do it"}]
    for n, (tool, arguments, result) in enumerate(steps):
        items += [
            {"type": "reasoning", "id": f"rs_{n}", "encrypted_content": f"x{n}"},
            {
                "type": "function_call",
                "id": f"fc_{n}",
                "call_id": f"c_{n}",
                "name": tool,
                "arguments": repr(arguments),
                "status": "completed",
            },
            {"type": "function_call_output", "call_id": f"c_{n}", "output": result},
        ]
    return {"model": "m", "input": items}


def gemini(steps: Sequence[Step]) -> dict[str, Any]:
    contents: list[Any] = [{"role": "user", "parts": [{"text": "do it"}]}]
    for n, (tool, arguments, result) in enumerate(steps):
        call = {"functionCall": {"name": tool, "args": arguments}, "thoughtSignature": f"s{n}"}
        back = {"functionResponse": {"id": f"{n}", "name": tool, "response": {"output": result}}}
        contents += [{"role": "model", "parts": [call]}, {"role": "user", "parts": [back]}]
    return {"contents": contents}


def code_assist(steps: Sequence[Step]) -> dict[str, Any]:
    return {"model": "m", "request": gemini(steps)}


def bedrock(steps: Sequence[Step]) -> dict[str, Any]:
    messages: list[Any] = [{"role": "user", "content": [{"text": "do it"}]}]
    for n, (tool, arguments, result) in enumerate(steps):
        use = {"toolUse": {"toolUseId": f"t{n}", "name": tool, "input": arguments}}
        back = {"toolResult": {"toolUseId": f"t{n}", "content": [{"text": result}]}}
        messages += [{"role": "assistant", "content": [use]}, {"role": "user", "content": [back]}]
    return {"messages": messages}


DIALECTS: dict[str, Callable[[Sequence[Step]], Any]] = {
    "anthropic": anthropic,
    "chat": chat,
    "responses": responses,
    "gemini": gemini,
    "code-assist": code_assist,
    "bedrock": bedrock,
}
every_dialect = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
LS: Step = ("Bash", {"command": "ls", "timeout": 5}, "nothing")
TEST: Step = ("Bash", {"command": "pytest"}, "1 failed")
READ: Step = ("Read", {"path": "a.py"}, "code")
FIX: Step = ("Edit", {"path": "a.py", "new": "x"}, "done")


def told(body: Any) -> tuple[int, int, str]:
    loop = loop_of(body)
    return loop.times, loop.period, loop.tool


@every_dialect
@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        pytest.param([], (1, 1, ""), id="no-tools"),
        pytest.param([LS], (1, 1, ""), id="once"),
        pytest.param([READ, FIX, TEST], (1, 1, ""), id="different-steps"),
        pytest.param([READ, LS, LS, LS], (3, 1, "Bash"), id="the-same-again"),
        pytest.param([LS, LS, LS, READ], (1, 1, ""), id="the-same-before-and-then-another"),
        pytest.param([READ, *[FIX, TEST] * 4], (4, 2, "Bash"), id="two-by-turns"),
        pytest.param([LS, *[READ, FIX, TEST] * 3], (3, 3, "Bash"), id="three-by-turns"),
        pytest.param(
            [("Bash", {"command": "make"}, f"{n} errors") for n in range(9)],
            (1, 1, ""),
            id="other-results",
        ),
        pytest.param(
            [("Read", {"path": "a", "offset": n}, "") for n in range(9)],
            (1, 1, ""),
            id="other-calls",
        ),
    ],
)
def test_rounds_of_the_same_steps(
    dialect: Callable[[Sequence[Step]], Any], steps: list[Step], expected: tuple[int, int, str]
) -> None:
    assert told(dialect(steps)) == expected


def test_what_a_person_says_is_a_new_beginning() -> None:
    body = anthropic([LS] * 5)
    body["messages"] += [
        {"role": "assistant", "content": "it is empty"},
        {"role": "user", "content": "look again"},
    ]
    assert told(body) == (1, 1, "")
    body["messages"] += anthropic([LS, LS])["messages"][1:]
    assert told(body)[:2] == (2, 1)


def test_a_reminder_beside_a_result_is_none() -> None:
    body = anthropic([LS] * 5)
    body["messages"][4]["content"].append({"type": "text", "text": "remember"})
    assert told(body)[:2] == (5, 1)


@pytest.mark.parametrize("dialect", ["anthropic", "responses"])
def test_calls_side_by_side_are_one_step(dialect: str) -> None:
    body = DIALECTS[dialect]([LS, READ])
    if dialect == "anthropic":
        first, one, second, two = body["messages"][1:]
        rounds = [
            {"role": "assistant", "content": first["content"] + second["content"]},
            {"role": "user", "content": one["content"] + two["content"]},
        ]
        body["messages"] = [body["messages"][0], *rounds * 4]
    else:
        _, call, back, _, other, answer = body["input"][1:]
        body["input"] = [body["input"][0], *[call, other, back, answer] * 4]
    assert told(body)[:2] == (4, 1)


def test_no_more_is_looked_back_than_needed() -> None:
    assert loop_of(chat([LS] * 500)).times == MAX_STEPS


MANY = 20_000
ONE: Any = {"role": "assistant", "tool_calls": [{"function": {"name": "x"}}] * MANY}


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([ONE, {"role": "tool", "content": "x"}], id="calls-of-a-message"),
        pytest.param([{"role": "tool", "content": "x"}] * MANY, id="results"),
        pytest.param(
            [{"role": "user", "content": [{"type": "tool_result", "content": "x"}] * 300}] * 300,
            id="results-of-messages",
        ),
        pytest.param([{"role": "assistant", "content": "x"}] * MANY, id="words"),
    ],
)
def test_what_is_read_of_a_hostile_history_is_bounded(
    messages: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    bare = module._bare

    def counted(value: Any, *more: int) -> Any:
        read.append(1)
        return bare(value, *more)

    monkeypatch.setattr(module, "_bare", counted)
    loop_of({"messages": messages})
    assert len(read) <= 4 * module.MAX_READ


def test_the_same_circle_has_one_name_wherever_it_is_met() -> None:
    by_turns = [loop_of(chat([FIX, TEST] * 4)).step, loop_of(chat([TEST, *[FIX, TEST] * 4])).step]
    assert by_turns[0] == by_turns[1] == loop_of(chat([TEST, FIX] * 4)).step
    assert by_turns[0] != loop_of(chat([FIX, LS] * 4)).step


def test_results_alone_are_told_where_the_provider_keeps_the_calls() -> None:
    one: Any = {"input": [{"type": "function_call_output", "call_id": "1", "output": "x"}]}
    same: Any = {"input": [{"type": "function_call_output", "call_id": "2", "output": "x"}]}
    other: Any = {"input": [{"type": "function_call_output", "call_id": "2", "output": "y"}]}
    assert results_of(one) == results_of(same) != results_of(other)
    assert results_of({"input": [{"role": "user", "content": "hi"}]}) == ""
    assert results_of({"input": "hi"}) == ""


@pytest.mark.parametrize("value", [2**80, "\ud800", float("inf")], ids=range(3))
def test_a_digest_is_of_any_json(value: object) -> None:
    assert len(digest_of([value])) == 24


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "messages",
                    "input",
                    "contents",
                    "request",
                    "role",
                    "content",
                    "parts",
                    "type",
                    "tool_calls",
                    "function",
                    "name",
                    "functionCall",
                    "toolUse",
                    "toolResult",
                ]
            ),
            inner | st.sampled_from(["user", "tool", "tool_use", "tool_result", "function_call"]),
            max_size=5,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(JSON)
def test_any_body_is_read(body: Any) -> None:
    assert isinstance(loop_of(body), Loop)
    assert isinstance(results_of(body), str)
