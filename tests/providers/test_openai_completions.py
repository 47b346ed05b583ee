"""Legacy completions: prompts in every form they have."""

from typing import Any

import pytest

from llmtrace.domain.parts import Role
from llmtrace.providers.base import Json, RequestView, Route
from llmtrace.providers.media import NUMBERS
from llmtrace.providers.openai_completions import OpenAICompletions, is_ids


def read(body: Any) -> RequestView:
    route = Route(provider="openai", dialect="openai.completions", operation="completions")
    return OpenAICompletions().request(body, route)


@pytest.mark.parametrize(
    ("prompt", "texts", "gaps", "choices"),
    [
        pytest.param("hi", ["hi"], 0, 2, id="text"),
        pytest.param(["a", "b"], ["a", "b"], 0, 4, id="texts"),
        pytest.param([1, 2], [], 1, 2, id="ids"),
        pytest.param([[1], [2]], [], 2, 4, id="lists-of-ids"),
        pytest.param(["a", [1]], ["a"], 1, 4, id="mixed"),
        pytest.param({"x": "hi"}, ["hi"], 0, 2, id="nothing-known"),
        pytest.param(None, [], 0, 2, id="null"),
        pytest.param([], [], 0, 2, id="empty"),
    ],
)
def test_prompts(prompt: Json, texts: list[str], gaps: int, choices: int) -> None:
    view = read({"prompt": prompt, "n": 2})
    assert [part.text for part in view.parts] == texts
    assert all(part.role is Role.USER for part in view.parts)
    assert [media.mime for media in view.media] == [NUMBERS] * gaps
    assert view.choices == choices


@pytest.mark.parametrize("value", [[], [True], [1.5], [-1], [1, "a"], [1 << 70], "1"])
def test_what_cannot_be_ids_is_none(value: Json) -> None:
    assert not is_ids(value)


def test_the_size_of_ids_is_that_of_their_json() -> None:
    [media] = read({"prompt": [1, 22]}).media
    assert media.size == len(b"[1,22]")


def test_a_suffix_is_the_users() -> None:
    assert [part.location for part in read({"suffix": "end"}).parts] == ["suffix"]
