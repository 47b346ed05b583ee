from datetime import UTC, datetime

import orjson
import pytest

from llmtrace.domain.answers import Answer, UsageSeen
from llmtrace.domain.usage import Usage
from llmtrace.providers.base import Frame, Json
from llmtrace.providers.batch_parts import Part, parts_of
from llmtrace.providers.batches import LENGTHS, MAX_GROUPS, BatchResults
from llmtrace.providers.collector import AnswerCollector
from llmtrace.providers.framing.registry import framing_for
from llmtrace.providers.pricing import PriceBook
from llmtrace.providers.registry import GENERIC
from llmtrace.providers.shipped_prices import providers
from llmtrace.providers.usage import read_usage

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)


def whole(body: Json) -> Answer:
    collector = AnswerCollector()
    collector.add(GENERIC.answer(body))
    return collector.answer()


def lines(*bodies: Json) -> Answer:
    """Read a file of results as it comes."""
    collector, reader = AnswerCollector(), GENERIC.reader()
    framing = framing_for("application/x-jsonl")
    assert framing is not None
    for frame in framing.receive(b"\n".join(map(orjson.dumps, bodies)) + b"\n"):
        collector.add(reader.receive(frame))
    collector.add(reader.close())
    return collector.answer()


def cost(provider: str, answer: Answer, *models: str) -> tuple[int, str] | None:
    usage = read_usage(provider, "generic", answer.usage)
    assert usage is not None
    priced = PriceBook().price_answer(provider, models, usage, answer.usage, at=AT)
    return (priced.nano_usd, priced.price_version.partition("@")[2]) if priced else None


def openai(status: str) -> dict[str, Json]:
    return {
        "id": "batch_1",
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        "status": status,
        "model": "gpt-5-2025-08-07",
        "usage": {
            "input_tokens": 2_000_000,
            "input_tokens_details": {"cached_tokens": 1_000_000},
            "output_tokens": 100_000,
            "output_tokens_details": {"reasoning_tokens": 60_000},
            "total_tokens": 2_100_000,
        },
    }


def test_openai_tells_it_in_the_object_at_half_the_price() -> None:
    answer = whole(openai("completed"))
    assert answer.response_id == "batch_1"
    # 1 M at $0.625, 1 M cached at $0.0625, 0.1 M at $5
    assert cost("openai", answer) == (625_000_000 + 62_500_000 + 500_000_000, "2026-11-21")


@pytest.mark.parametrize("status", ["validating", "in_progress", "finalizing", ""])
def test_a_batch_that_runs_tells_nothing_yet(status: str) -> None:
    assert whole(openai(status)).usage is None


def claude(model: str, tokens: int, **usage: Json) -> Json:
    message: Json = {
        "id": "msg",
        "type": "message",
        "model": model,
        "content": [{"type": "text", "text": "hi"}],
        "usage": {"input_tokens": tokens, "output_tokens": 10, "service_tier": "batch", **usage},
    }
    return {"custom_id": "x", "result": {"type": "succeeded", "message": message}}


def test_anthropic_tells_it_in_each_line() -> None:
    answer = lines(
        claude("claude-sonnet-4-5-20250929", 1_000),
        claude("claude-sonnet-4-5-20250929", 500, cache_read_input_tokens=500),
        claude("claude-haiku-4-5-20251001", 2_000),
        {"custom_id": "y", "result": {"type": "errored", "error": {"type": "invalid_request"}}},
    )
    assert read_usage("anthropic", "generic", answer.usage) == Usage(
        input_tokens=4_000, output_tokens=30, cache_read_tokens=500
    )
    # Sonnet: 1500 at $1.50, 500 cached at $0.15, 20 at $7.50; Haiku: 2000 at $0.50, 10 at $2.50
    sonnet, haiku = 2_250_000 + 75_000 + 150_000, 1_000_000 + 25_000
    assert cost("anthropic", answer) == (sonnet + haiku, "2026-11-21")


def test_a_model_without_a_price_is_said_to_be_left_out() -> None:
    answer = lines(claude("claude-haiku-4-5", 1_000), claude("claude-unheard-of", 1_000))
    assert cost("anthropic", answer) == (525_000, "2026-11-21+unpriced:model")
    assert cost("anthropic", lines(claude("claude-unheard-of", 1_000))) is None


def gemini(*answers: tuple[str, int], nested: bool = True) -> dict[str, Json]:
    inlined: Json = [
        {
            "response": {
                "modelVersion": model,
                "usageMetadata": {"promptTokenCount": tokens, "candidatesTokenCount": 1_000},
            }
        }
        for model, tokens in answers
    ]
    return {
        "name": "batches/abc",
        "metadata": {"model": "models/gemini-2.5-pro", "state": "BATCH_STATE_SUCCEEDED"},
        "done": True,
        "response": {"inlinedResponses": {"inlinedResponses": inlined} if nested else inlined},
    }


@pytest.mark.parametrize("nested", [True, False])
def test_gemini_tells_it_in_the_operation(nested: bool) -> None:
    answer = whole(gemini(("gemini-2.5-pro", 150_000), ("", 150_000), nested=nested))
    assert answer.response_id == "batches/abc"
    # two of 150,000 tokens are not one of 300,000: $0.625, not $1.25
    assert cost("gemini", answer) == (2 * (93_750_000 + 5_000_000), "2026-11-21")


def test_a_long_prompt_of_a_batch_has_its_own_price() -> None:
    answer = whole(gemini(("gemini-2.5-pro", 150_000), ("gemini-2.5-pro", 250_000)))
    short, long = 93_750_000 + 5_000_000, 312_500_000 + 7_500_000
    assert cost("gemini", answer) == (short + long, "2026-11-21")


def test_all_lengths_are_told_apart_that_any_price_asks_for() -> None:
    starts = {
        tier.start
        for provider in providers().values()
        for model in provider.models
        for prices in (model.prices if isinstance(model.prices, list) else [model.prices])
        for price in getattr(prices, "prices", prices).__dict__.values()
        for tier in getattr(price, "tiers", ())
    }
    assert starts <= set(LENGTHS)


@pytest.mark.parametrize(
    "body",
    [
        {"custom_id": "x"},
        {"custom_id": "x", "result": {"message": {"model": "m", "usage": "many"}}},
        {"custom_id": "x", "result": {"message": {"usage": {"input_tokens": -1}}}},
        {"name": "batches/x", "response": {"inlinedResponses": [1, {"response": []}]}},
        {"name": "batches/x", "response": None},
        {"object": "batch", "status": "completed", "usage": None},
        {"object": "batch", "status": {"x": 1}, "usage": {"input_tokens": 1}},
        {"name": 3},
    ],
    ids=repr,
)
def test_odd_bodies_tell_no_usage(body: dict[str, Json]) -> None:
    assert parts_of(whole(body).usage) == []


def test_models_without_end_are_bounded() -> None:
    results = BatchResults()
    bodies = [claude(f"m{number}", 1) for number in range(MAX_GROUPS + 20)]
    events = [event for body in bodies if isinstance(body, dict) for event in results.read(body)]
    assert isinstance(events[-1], UsageSeen)
    parts = parts_of(events[-1].raw)
    assert len(parts) == MAX_GROUPS
    assert parts[0] == Part("m0", 1, Usage(input_tokens=1, output_tokens=10))


def test_a_line_cut_off_is_no_answer() -> None:
    reader = GENERIC.reader()
    assert not any(
        hasattr(event, "raw") for event in reader.receive(Frame(event="", data=b'{"custom_id": '))
    )
