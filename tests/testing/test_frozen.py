from dataclasses import FrozenInstanceError

import pytest

from llmtrace.domain.traces import Span
from llmtrace.domain.values import Freezing
from llmtrace.testing.frozen import freeze


def test_values_are_frozen_in_the_tests() -> None:
    freeze()  # once more
    span = Span(name="a", offset_ms=0, duration_ms=1)
    with pytest.raises(FrozenInstanceError):
        span.name = "b"  # type: ignore[misc]  # that is the point


def test_it_is_too_late_once_a_value_was_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Freezing, "indeed", False)
    with pytest.raises(RuntimeError, match="values were declared before"):
        freeze()
