"""Whether a call writes a cache."""

from typing import Any

import pytest

from llmtrace.limits.caching import Writes, cache_writes
from llmtrace.providers.base import Json

SHORT: dict[str, Json] = {"cache_control": {"type": "ephemeral"}}
LONG: dict[str, Json] = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}


@pytest.mark.parametrize(
    "body",
    [
        SHORT,
        {"system": [{"text": "x", **SHORT}]},
        {"tools": [{"name": "x", **SHORT}]},
        {"messages": [{"content": [{"text": "x", **SHORT}]}]},
        {"messages": [{"content": [{"type": "tool_result", "content": [{**SHORT}]}]}]},
        {"system": [{"cachePoint": {"type": "default"}}]},
        {"messages": [{"content": [{"cachePoint": {"type": "default"}}]}]},
        {"toolConfig": {"tools": [{"cachePoint": {"type": "default"}}]}},
    ],
)
def test_a_mark_is_seen_where_providers_read_it(body: Any) -> None:
    assert cache_writes(body) == Writes(any=True)


def test_an_hour_costs_more_than_five_minutes() -> None:
    assert cache_writes({"messages": [{"content": [SHORT, LONG]}]}).long
    assert not cache_writes({"cache_control": {"ttl": "5m"}}).long
    assert cache_writes({"cache_control": {"ttl": "1d"}}).long  # whatever it is, it is longer


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "cache_control",
        {"system": "cache_control", "messages": "x", "tools": {}},
        {"cache_control": None},
        {"messages": [{"content": "cache_control", "input": SHORT}, 1, None]},
    ],
)
def test_without_a_mark_nothing_is_written(body: Any) -> None:
    assert cache_writes(body) == Writes()
