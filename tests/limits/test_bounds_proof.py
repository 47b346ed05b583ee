"""What is set aside in strict mode is never less than what a provider can charge.

A request is drawn, then what its provider may say that it used, by the provider's own rules; that
is read and priced as in the gateway.
"""

import base64
import json
import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from llmtrace.config import Config
from llmtrace.limits.bounds import Bound, Bounder, Outgoing
from llmtrace.providers.base import Route
from llmtrace.providers.editing import put_member
from llmtrace.providers.pricing import PriceBook
from llmtrace.providers.registry import DIALECTS
from llmtrace.providers.usage import read_usage

AT: Final = datetime(2026, 11, 21, tzinfo=UTC)
EXAMPLES: Final = 120
PNG: Final = b"\x89PNG\r\n\x1a\n" + bytes(40)
"""The smallest file may show the largest picture."""
TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=120)


@cache
def book() -> PriceBook:
    return PriceBook()


@cache
def bounder() -> Bounder:
    return Bounder(Config.model_validate({"cost_caps": {"mode": "strict"}}).cost_caps, book())


@dataclass
class Sent:
    """A request, and the most tokens that its provider makes of it."""

    body: dict[str, Any]
    tokens: int = 0
    sound: int = 0
    """Tokens of what is heard, which are in ``tokens``."""
    seen: int = 0
    choices: int = 1
    uses: int = 0
    """How often the provider's own tools may be used."""
    extra: int = 0
    """Tokens that are written beside the limit of an answer."""
    tiers: tuple[str, ...] = ("",)
    """Service tiers that may be said to have answered."""
    long: bool = False
    """Whether a cache is written for an hour."""
    model: str = ""
    given: dict[str, Any] = field(default_factory=dict)


def number(most: int) -> st.SearchStrategy[int]:
    return st.sampled_from([0, most]) | st.integers(0, most)


def split(draw: st.DrawFn, total: int, ways: int) -> list[int]:
    """Cut a number into so many."""
    cuts = sorted(draw(number(total)) for _ in range(ways - 1))
    return [after - before for before, after in zip([0, *cuts], [*cuts, total], strict=True)]


def picture(draw: st.DrawFn, provider: str) -> int:
    """Return the tokens of a picture of any size, by the formula of its provider."""
    width, height = draw(st.integers(1, 8_000)), draw(st.integers(1, 8_000))
    if provider == "anthropic":  # docs.anthropic.com: vision, high resolution
        scale = min(1.0, 2_576 / max(width, height))
        return min(math.ceil(width * scale * height * scale / 750), 4_784)
    if provider == "gemini":  # cloud.google.com/vertex-ai: tiles of 256 to 768 pixels
        scale = min(1.0, 3_072 / max(width, height))
        wide, high = max(1, int(width * scale)), max(1, int(height * scale))
        if max(wide, high) <= 384:
            return 258
        tile = min(max(int(min(wide, high) / 1.5), 256), 768)
        return 258 * math.ceil(wide / tile) * math.ceil(high / tile)
    scale = min(1.0, 2_048 / max(width, height))  # platform.openai.com: images and vision
    scale = min(scale, 768 / min(width, height))
    tiles = math.ceil(width * scale / 512) * math.ceil(height * scale / 512)
    return 2_833 + 5_667 * tiles  # of gpt-4o-mini, the dearest


def function(draw: st.DrawFn) -> tuple[dict[str, Any], int]:
    """Return the schema of a tool, and its tokens."""
    text = draw(TEXT)
    schema = {
        "name": draw(st.sampled_from(["run", "read_file"])),
        "description": text,
        "parameters": {"type": "object", "properties": {"a": {"type": "string"}}},
    }
    return schema, len(text.encode()) + 40


@st.composite
def chats(draw: st.DrawFn) -> Sent:
    model = draw(st.sampled_from(["gpt-5.6-sol", "gpt-4o-mini", "gpt-5", "gpt-4o-audio-preview"]))
    sent = Sent({"model": model, "messages": []}, model=model)
    for text in draw(st.lists(TEXT, min_size=1, max_size=4)):
        content: list[Any] = [{"type": "text", "text": text}]
        sent.tokens += len(text.encode()) + 4
        if draw(st.booleans()):
            url = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
            content.append({"type": "image_url", "image_url": {"url": url}})
            sent.seen += (seen := picture(draw, "openai"))
            sent.tokens += seen
        if "audio" in model and draw(st.booleans()):
            data = b"RIFF" + bytes(draw(st.integers(4_000, 40_000)))  # 8 kHz at least
            heard = {"data": base64.b64encode(data).decode(), "format": "wav"}
            content.append({"type": "input_audio", "input_audio": heard})
            sent.sound += (sound := len(data) // 800)  # 10 tokens a second
            sent.tokens += sound
        sent.body["messages"].append({"role": "user", "content": content})
    _openai(draw, sent)
    if (limit := draw(st.none() | st.integers(1, 50_000))) is not None:
        sent.body[draw(st.sampled_from(["max_tokens", "max_completion_tokens"]))] = limit
    if draw(st.booleans()):
        sent.body["n"] = sent.choices = draw(st.integers(1, 5))
    if draw(st.booleans()):
        text = draw(TEXT)
        sent.body["prediction"] = {"type": "content", "content": text}
        sent.extra = len(text.encode())
    if draw(st.booleans()):
        schema, tokens = function(draw)
        sent.body["tools"] = [{"type": "function", "function": schema}]
        sent.tokens += tokens
    return sent


@st.composite
def responses(draw: st.DrawFn) -> Sent:
    model = draw(st.sampled_from(["gpt-5.6-sol", "gpt-4o", "o1-pro"]))
    texts = draw(st.lists(TEXT, min_size=1, max_size=4))
    sent = Sent({"model": model, "input": [], "tools": []}, model=model)
    for text in texts:
        sent.body["input"].append({"role": "user", "content": text})
        sent.tokens += len(text.encode()) + 4
    _openai(draw, sent)
    if (limit := draw(st.none() | st.integers(1, 50_000))) is not None:
        sent.body["max_output_tokens"] = limit
    if draw(st.booleans()):
        schema, tokens = function(draw)
        sent.body["tools"].append({"type": "function", **schema})
        sent.tokens += tokens
    if draw(st.booleans()):
        sent.body["tools"].append({"type": "web_search"})
        sent.body["max_tool_calls"] = sent.uses = draw(st.integers(0, 20))
        sent.tokens += 2_000 + 32_768 * sent.uses
    if draw(st.booleans()):
        sent.body["tools"].append({"type": "apply_patch"})
        sent.tokens += 2_000
    if draw(st.booleans()):  # all of a conversation that the provider keeps
        sent.body["previous_response_id"] = "resp_1"
        sent.given["stored_tokens"] = kept = draw(st.integers(0, 300_000))
        sent.tokens += kept
    return sent


def _openai(draw: st.DrawFn, sent: Sent) -> None:
    asked = draw(st.sampled_from([None, "auto", "default", "flex", "priority"]))
    if asked is not None:
        sent.body["service_tier"] = asked
    sent.tiers = {
        "default": ("default",),
        "flex": ("flex", "default"),
        "priority": ("priority", "default"),
    }.get(asked or "auto", ("default", "priority", "flex"))


@st.composite
def messages(draw: st.DrawFn) -> Sent:
    model = draw(st.sampled_from(["claude-opus-4-6", "claude-sonnet-4-5", "claude-haiku-4-5"]))
    sent = Sent({"model": model, "messages": [], "tools": []}, model=model)
    for text in draw(st.lists(TEXT, min_size=1, max_size=4)):
        block: dict[str, Any] = {"type": "text", "text": text}
        sent.tokens += len(text.encode()) + 4
        if (ttl := draw(st.sampled_from(["", "5m", "1h"]))) != "":
            block["cache_control"] = {"type": "ephemeral", "ttl": ttl}
            sent.long = sent.long or ttl == "1h"
        content = [block]
        if draw(st.booleans()):
            source = {"type": "base64", "media_type": "image/png"}
            source["data"] = base64.b64encode(PNG).decode()
            content.append({"type": "image", "source": source})
            sent.tokens += picture(draw, "anthropic")
        sent.body["messages"].append({"role": "user", "content": content})
    if (limit := draw(st.none() | st.integers(1, 50_000))) is not None:
        sent.body["max_tokens"] = limit
        if limit > 2_048 and draw(st.booleans()):
            sent.body["thinking"] = {"type": "enabled", "budget_tokens": limit - 1}
    if draw(st.booleans()):
        sent.body["service_tier"] = draw(st.sampled_from(["auto", "standard_only"]))
    if "opus" in model and draw(st.booleans()):
        sent.body["speed"] = "fast"
    for tool in draw(st.sets(st.sampled_from(["computer_20250124", "bash_20250124"]))):
        sent.body["tools"].append({"type": tool, "name": "it"})
        sent.tokens += 735 + 499
    if draw(st.booleans()):
        sent.uses = draw(st.integers(0, 12))
        tool_of = {"type": "web_search_20250305", "name": "web_search", "max_uses": sent.uses}
        sent.body["tools"].append(tool_of)
        sent.tokens += 2_000 + 32_768 * sent.uses
    return sent


@st.composite
def generations(draw: st.DrawFn) -> Sent:
    model = draw(st.sampled_from(["gemini-2.5-pro", "gemini-2.5-flash"]))
    config: dict[str, Any] = {}
    sent = Sent({"contents": [], "generationConfig": config}, model=model)
    for text in draw(st.lists(TEXT, min_size=1, max_size=4)):
        parts: list[Any] = [{"text": text}]
        sent.tokens += len(text.encode()) + 4
        if draw(st.booleans()):
            inline = {"mimeType": "image/png", "data": base64.b64encode(PNG).decode()}
            parts.append({"inlineData": inline})
            sent.seen += (seen := picture(draw, "gemini"))
            sent.tokens += seen
        if draw(st.booleans()):
            kind = draw(st.sampled_from(["audio/wav", "audio/flac", "video/mp4"]))
            data = b"\x00" + bytes(draw(st.integers(4_000, 20_000)))
            parts.append(
                {"inlineData": {"mimeType": kind, "data": base64.b64encode(data).decode()}}
            )
            sound = len(data) // 250 if kind == "audio/wav" else 100_000  # an hour of silence
            sent.sound += sound if kind != "video/mp4" else 0
            sent.tokens += sound
        sent.body["contents"].append({"role": "user", "parts": parts})
    assume(sent.tokens < 1_000_000)
    if (limit := draw(st.none() | st.integers(1, 50_000))) is not None:
        config["maxOutputTokens"] = limit
    if draw(st.booleans()):
        config["candidateCount"] = sent.choices = draw(st.integers(1, 5))
    if draw(st.booleans()):
        config["thinkingConfig"] = {"thinkingBudget": 24_576}
    if draw(st.booleans()):
        sent.body["serviceTier"] = tier = draw(st.sampled_from(["flex", "priority", "standard"]))
        sent.tiers = ("standard", tier)
    return sent


@st.composite
def converses(draw: st.DrawFn) -> Sent:
    model = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
    sent = Sent({"messages": []}, model=model)
    for text in draw(st.lists(TEXT, min_size=1, max_size=4)):
        content: list[Any] = [{"text": text}]
        sent.tokens += len(text.encode()) + 4
        if (ttl := draw(st.sampled_from(["", "5m", "1h"]))) != "":
            content.append({"cachePoint": {"type": "default", "ttl": ttl}})
            sent.long = sent.long or ttl == "1h"
        sent.body["messages"].append({"role": "user", "content": content})
    if (limit := draw(st.none() | st.integers(1, 50_000))) is not None:
        sent.body["inferenceConfig"] = {"maxTokens": limit}
    return sent


def _chat_usage(draw: st.DrawFn, sent: Sent, read: int, written: int) -> dict[str, Any]:
    _, cached = split(draw, read - sent.sound - sent.seen, 2)
    thought, _, spoken = split(draw, written, 3)
    spoken = spoken if "audio" in sent.model else 0
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": sent.sound},
        "completion_tokens_details": {"reasoning_tokens": thought, "audio_tokens": spoken},
    }


def _responses_usage(draw: st.DrawFn, sent: Sent, read: int, written: int) -> dict[str, Any]:
    _, cached, wrote = split(draw, read, 3)
    return {
        "input_tokens": read,
        "output_tokens": written,
        "total_tokens": read + written,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": wrote},
        "output_tokens_details": {"reasoning_tokens": draw(number(written))},
        "tool_usage": {"web_search": {"num_requests": draw(number(sent.uses))}},
    }


def _messages_usage(draw: st.DrawFn, sent: Sent, read: int, written: int) -> dict[str, Any]:
    marked = sent.uses or "cache_control" in json.dumps(sent.body)
    plain, cached, short, long = split(draw, read, 4) if marked else (*split(draw, read, 2), 0, 0)
    if not sent.long:
        plain, long = plain + long, 0
    return {
        "input_tokens": plain,
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": short + long,
        "cache_creation": {
            "ephemeral_5m_input_tokens": short,
            "ephemeral_1h_input_tokens": long,
        },
        "output_tokens": written,
        "server_tool_use": {"web_search_requests": draw(number(sent.uses))},
        "speed": sent.body.get("speed", "standard"),
    }


def _gemini_usage(draw: st.DrawFn, sent: Sent, read: int, written: int) -> dict[str, Any]:
    said, thought = split(draw, written, 2)
    return {
        "promptTokenCount": read,
        "cachedContentTokenCount": draw(number(read - sent.sound - sent.seen)),
        "candidatesTokenCount": said,
        "thoughtsTokenCount": thought,
        "promptTokensDetails": [
            {"modality": "AUDIO", "tokenCount": sent.sound},
            {"modality": "IMAGE", "tokenCount": sent.seen},
        ],
    }


def _converse_usage(draw: st.DrawFn, sent: Sent, read: int, written: int) -> dict[str, Any]:
    marked = "cachePoint" in json.dumps(sent.body)
    plain, cached, short, long = split(draw, read, 4) if marked else (*split(draw, read, 2), 0, 0)
    if not sent.long:
        plain, long = plain + long, 0
    return {
        "inputTokens": plain,
        "cacheReadInputTokens": cached,
        "cacheWriteInputTokens": short + long,
        "cacheDetails": [
            {"ttl": "5m", "inputTokens": short},
            {"ttl": "1h", "inputTokens": long},
        ],
        "outputTokens": written,
    }


KINDS: Final[dict[str, tuple[Any, Any, str]]] = {
    "openai.chat": (chats(), _chat_usage, "openai"),
    "openai.responses": (responses(), _responses_usage, "openai"),
    "anthropic.messages": (messages(), _messages_usage, "anthropic"),
    "gemini.generate": (generations(), _gemini_usage, "gemini"),
    "bedrock.converse": (converses(), _converse_usage, "bedrock"),
}


def bound_of(dialect: str, provider: str, sent: Sent) -> tuple[Bound, int]:
    """Return what is set aside for a request, and how long each of its answers may be."""
    route = Route(provider=provider, dialect=dialect, operation="chat")
    body: Any = sent.body
    content = json.dumps(body).encode()
    outgoing = Outgoing(
        route=route,
        view=DIALECTS[dialect].request(body, route),
        body=body,
        size=len(content),
        at=AT,
        model=sent.model,
        **sent.given,
    )
    found = bounder().bound(outgoing)
    assert isinstance(found, Bound), found
    if found.put is not None:
        body = json.loads(put_member(content, body, *found.put))
    limits = [
        body.get("max_tokens"),
        body.get("max_completion_tokens"),
        body.get("max_output_tokens"),
        body.get("generationConfig", {}).get("maxOutputTokens"),
        body.get("inferenceConfig", {}).get("maxTokens"),
    ]
    return found, max(limit for limit in limits if limit is not None)


@pytest.mark.parametrize("dialect", KINDS)
@settings(max_examples=EXAMPLES, deadline=None)
@given(data=st.data())
def test_no_provider_charges_more_than_was_set_aside(dialect: str, data: st.DataObject) -> None:
    requests, usage_of, provider = KINDS[dialect]
    sent: Sent = data.draw(requests)
    found, limit = bound_of(dialect, provider, sent)
    draw: Any = data.draw
    least = sent.sound + sent.seen
    read = draw(st.just(sent.tokens) | st.integers(least, sent.tokens))
    written = draw(number(sent.choices * (limit + sent.extra)))
    told = usage_of(draw, sent, read, written)
    usage = read_usage(provider, dialect, told, sent.model)
    assert usage is not None
    tier = draw(st.sampled_from(sent.tiers))
    cost = book().price_answer(provider, [sent.model], usage, told, at=AT, service_tier=tier)
    assert cost is not None
    assert cost.nano_usd <= found.usd
