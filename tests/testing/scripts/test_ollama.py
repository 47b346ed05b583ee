import json
from collections.abc import Callable
from typing import Any

from llmtrace.testing.script import DEFAULT_TEXT, Script, ScriptedTool
from llmtrace.testing.scripts.ollama import chat, embed, error, generate, show, tags, version
from llmtrace.testing.wire import Reply, Request

type Ask = Callable[..., Request]


def lines(reply: Reply) -> list[dict[str, Any]]:
    assert reply.streamed
    return [json.loads(line) for line in reply.body.splitlines()]


def test_a_chat_streams_unless_told_not_to(ask: Ask) -> None:
    found = lines(chat(ask("/api/chat", {"model": "m"}), Script(reasoning="hm")))
    whole = json.loads(chat(ask("/api/chat", {"model": "m", "stream": False}), Script()).body)
    assert "".join(line["message"]["content"] for line in found) == DEFAULT_TEXT
    assert whole["message"]["content"] == DEFAULT_TEXT
    assert [line["done"] for line in found] == [False] * (len(found) - 1) + [True]
    for key in ("prompt_eval_count", "eval_count", "done_reason"):
        assert found[-1][key] == whole[key]
    assert found[0]["message"]["thinking"] == "hm"


def test_a_generation_is_a_response(ask: Ask) -> None:
    found = lines(generate(ask("/api/generate", {"prompt": "x"}), Script(chunks=3)))
    assert "".join(line["response"] for line in found) == DEFAULT_TEXT
    whole = generate(ask("/api/generate", {"prompt": "x", "stream": False}), Script())
    assert json.loads(whole.body)["response"] == DEFAULT_TEXT


def test_tool_calls_have_parsed_arguments(ask: Ask) -> None:
    script = Script(tool_calls=(ScriptedTool(name="ls", arguments='{"path": "/"}'),))
    expected = [{"function": {"name": "ls", "arguments": {"path": "/"}}}]
    whole = chat(ask("/api/chat", {"stream": False}), script)
    assert json.loads(whole.body)["message"]["tool_calls"] == expected
    assert lines(chat(ask("/api/chat"), script))[0]["message"]["tool_calls"] == expected


def test_an_error_in_mid_stream_ends_it(ask: Ask) -> None:
    assert "error" in lines(chat(ask("/api/chat"), Script(error_after=1)))[-1]


def test_the_rest(ask: Ask) -> None:
    replies = [answer(ask("/"), Script()) for answer in (tags, show, version)]
    assert [next(iter(json.loads(reply.body))) for reply in replies] == [
        "models",
        "modelfile",
        "version",
    ]
    many = embed(ask("/api/embed", {"input": ["a", "b"]}), Script())
    assert len(json.loads(many.body)["embeddings"]) == 2
    assert error(Script(), "m") == {"error": "m"}
