import json
from collections.abc import Callable

from llmtrace.testing.script import Script
from llmtrace.testing.scripts.batches import (
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    begin,
    begin_messages,
    results,
    status,
)
from llmtrace.testing.wire import Request

type Ask = Callable[..., Request]


def test_a_batch_begins_without_usage_and_ends_with_it(ask: Ask) -> None:
    begun = json.loads(begin(ask("/v1/batches", {}), Script()).body)
    assert begun["status"] == "validating"
    assert "usage" not in begun
    fetched = json.loads(status(ask(f"/v1/batches/{begun['id']}", {}), Script()).body)
    assert (fetched["id"], fetched["status"]) == (begun["id"], "completed")
    assert fetched["usage"]["total_tokens"] == INPUT_TOKENS + OUTPUT_TOKENS


def test_results_of_messages_are_one_answer_a_line(ask: Ask) -> None:
    begun = json.loads(begin_messages(ask("/v1/messages/batches", {}), Script()).body)
    assert begun["processing_status"] == "in_progress"
    told = results(ask(f"/v1/messages/batches/{begun['id']}/results", {}), Script()).body
    usages = [json.loads(line)["result"]["message"]["usage"] for line in told.splitlines()]
    assert sum(usage["input_tokens"] for usage in usages) == INPUT_TOKENS
    assert sum(usage["output_tokens"] for usage in usages) == OUTPUT_TOKENS
