from dataclasses import fields

from llmtrace.domain.usage import Usage
from llmtrace.providers.rates import TOOLS
from llmtrace.providers.usage_shapes import ANY, CLASSES, SHAPES


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
