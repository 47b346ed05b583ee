from dataclasses import FrozenInstanceError

import pytest

from llmtrace.domain.usage import Usage
from llmtrace.domain.values import DECLARED, WATCHERS, dataclass
from llmtrace.testing.frozen import freeze


def test_what_was_declared_before_and_after_is_frozen_once() -> None:
    freeze()
    assert len(WATCHERS) == 1

    @dataclass(frozen=True, slots=True)
    class Later:
        """A value that is declared after."""

        size: int

    assert {Usage, Later} <= set(DECLARED)
    for made in (Usage(), Later(1)):
        name = next(iter(made.__dataclass_fields__))
        with pytest.raises(FrozenInstanceError):
            setattr(made, name, 2)
    DECLARED.remove(Later)
