"""How the tests of the dialects ask for an answer."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from llmtrace.testing.wire import Reply, Request

type Ask = Callable[..., Request]
type Events = Callable[[Reply], list[dict[str, Any]]]


@pytest.fixture
def ask() -> Ask:
    def make(path: str, body: object = None, **query: str) -> Request:
        return Request(
            method="POST",
            path=path,
            id="7",
            query=query,
            body=json.dumps({} if body is None else body).encode(),
        )

    return make


@pytest.fixture
def events() -> Events:
    def read(reply: Reply) -> list[dict[str, Any]]:
        """Return the JSON of every event of a reply, in order, without ``[DONE]``."""
        assert reply.streamed
        lines = reply.body.replace(b"\r\n", b"\n").split(b"\n")
        data = [line[6:] for line in lines if line.startswith(b"data: ")]
        return [json.loads(item) for item in data if item != b"[DONE]"]

    return read
