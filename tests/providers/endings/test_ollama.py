import json
from typing import Any

from llmtrace.providers.base import Frame
from llmtrace.providers.endings.ollama import (
    OllamaEnding,
    OllamaGenerateEnding,
    cut_ollama,
    whole_ollama,
)


def test_the_lines_look_like_what_came_before() -> None:
    ending = OllamaEnding()
    ending.sent(Frame(event="", data=b'{"model": "m", "created_at": "now", "done": false}'), ())
    said, done = (json.loads(frame.data) for frame in ending.end("why", filtered=False))
    head = {"model": "m", "created_at": "now"}
    assert said == {**head, "message": {"role": "assistant", "content": "why"}, "done": False}
    assert (done["done"], done["done_reason"]) == (True, "stop")


def test_generate_has_its_own_member() -> None:
    said, done = (json.loads(f.data) for f in OllamaGenerateEnding().end("why", filtered=False))
    assert (said["response"], done["response"]) == ("why", "")


def test_calls_are_cut() -> None:
    body: dict[str, Any] = {"message": {"content": "so", "tool_calls": [1, 2, 3]}}
    cut_ollama(body, choice=0, keep=2)
    assert body["message"] == {"content": "so", "tool_calls": [1, 2]}
    whole_ollama(body, "why", choice=0, keep=0)
    assert body["message"] == {"content": "so\n\nwhy"}
