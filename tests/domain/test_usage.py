import pytest

from llmtrace.domain.usage import Usage


def test_a_total_does_not_count_its_parts_again() -> None:
    usage = Usage(
        input_tokens=100, cache_read_tokens=60, cache_write_5m_tokens=10, input_audio_tokens=5,
        output_tokens=30, reasoning_tokens=20,
    )  # fmt: skip
    assert usage.total_tokens == 130


@pytest.mark.parametrize("name", Usage.__dataclass_fields__)
def test_a_negative_count_is_refused_and_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is negative"):
        Usage(**{name: -1})
