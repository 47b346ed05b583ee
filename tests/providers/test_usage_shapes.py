"""Which shape reads what: what is no text, and what no usage object tells."""

from dataclasses import fields

import pytest

from llmtrace.domain.usage import Usage
from llmtrace.providers.rates import TOOLS
from llmtrace.providers.usage import read_usage
from llmtrace.providers.usage_shapes import ANY, CLASSES, SHAPES, USES


def test_a_shape_knows_below_which_keys_its_classes_stand() -> None:
    shape = SHAPES["anthropic.messages"][0]
    keys = {name: keys for name, keys, _ in shape.classes}
    assert keys["cache_write_1h"] == {"cache_creation"}
    assert "output_audio" not in keys


def test_each_class_of_a_shape_is_listed() -> None:
    listed = {*CLASSES, "input", "output", "total", "marks", "audio_seconds", "classes"}
    for shape in ANY:
        named = {
            field.name for field in fields(shape) if isinstance(getattr(shape, field.name), tuple)
        }
        assert named <= listed


def test_each_tool_is_counted_by_a_field_of_usage() -> None:
    assert set(TOOLS.values()) <= {field.name for field in fields(Usage)}


@pytest.mark.parametrize(
    ("provider", "dialect", "raw", "expected"),
    [
        pytest.param(
            "openai",
            "generic",
            {"type": "duration", "seconds": 12.3451},
            Usage(audio_ms=12_346),
            id="sound-by-its-length",
        ),
        pytest.param(
            "openai",
            "generic",
            {
                "type": "tokens",
                "input_tokens": 14,
                "input_token_details": {"text_tokens": 4, "audio_tokens": 10},
                "output_tokens": 45,
            },
            Usage(input_tokens=14, output_tokens=45, input_audio_tokens=10),
            id="transcription-by-tokens",
        ),
        pytest.param(
            "openai",
            "generic",
            {
                "input_tokens": 50,
                "input_tokens_details": {"image_tokens": 40, "text_tokens": 10},
                "output_tokens": 4_160,
                "output_tokens_details": {"image_tokens": 4_000, "text_tokens": 160},
            },
            Usage(
                input_tokens=50,
                output_tokens=4_160,
                input_image_tokens=40,
                output_image_tokens=4_000,
            ),
            id="pictures-by-tokens",
        ),
        pytest.param(
            "gemini",
            "gemini.generate",
            {
                "promptTokenCount": 300,
                "candidatesTokenCount": 1_310,
                "candidatesTokensDetails": [
                    {"modality": "TEXT", "tokenCount": 20},
                    {"modality": "IMAGE", "tokenCount": 1_290},
                ],
            },
            Usage(input_tokens=300, output_tokens=1_310, output_image_tokens=1_290),
            id="gemini-writes-a-picture",
        ),
        pytest.param(
            "openai",
            "openai.responses",
            {"input_tokens": 1, "output_tokens": 2, USES: {"web_search": 3, "file_search": 1}},
            Usage(input_tokens=1, output_tokens=2, web_searches=3, file_searches=1),
            id="tools-that-the-answer-shows",
        ),
        pytest.param(
            "openai",
            "openai.responses",
            {
                "input_tokens": 1,
                "output_tokens": 2,
                "tool_usage": {"web_search": {"num_requests": 2}},
                USES: {"web_search": 3, "code_execution": -1, "x": 5},
            },
            Usage(input_tokens=1, output_tokens=2, web_searches=2),
            id="what-the-provider-counts-comes-first",
        ),
        pytest.param(
            "xai",
            "openai.chat",
            {
                "prompt_tokens": 1,
                "completion_tokens": 2,
                "server_side_tool_usage_details": {
                    "web_search_calls": 1,
                    "x_search_calls": 2,
                    "code_interpreter_calls": 3,
                },
            },
            Usage(input_tokens=1, output_tokens=2, web_searches=1, x_searches=2, code_executions=3),
            id="xai-tools",
        ),
        pytest.param(
            "xai",
            "generic",
            {"cost_in_usd_ticks": 200_000_000},
            Usage(),
            id="nothing-but-the-providers-own-cost",
        ),
    ],
)
def test_what_is_no_text(
    provider: str, dialect: str, raw: dict[str, object], expected: Usage
) -> None:
    invalid: list[str] = []
    assert read_usage(provider, dialect, raw, on_invalid=invalid.append) == expected
    assert not invalid


@pytest.mark.parametrize(
    ("model", "searches"),
    [
        ("gemini-2.5-pro", 1),
        ("models/gemini-2.0-flash", 1),
        ("gemini-3-pro-preview", 4),
        ("", 4),
    ],
)
def test_google_bills_older_models_by_the_prompt(model: str, searches: int) -> None:
    raw = {"promptTokenCount": 3, "candidatesTokenCount": 4, USES: {"web_search": 4}}
    usage = read_usage("gemini", "gemini.generate", raw, model)
    assert usage is not None
    assert usage.web_searches == searches


@pytest.mark.parametrize("seconds", [-1, float("nan"), 1e300, "12", True], ids=repr)
def test_a_length_that_is_none_is_reported(seconds: object) -> None:
    invalid: list[str] = []
    raw = {"seconds": seconds}
    assert read_usage("openai", "generic", raw, on_invalid=invalid.append) is None
    assert invalid == ["audio_seconds"]
