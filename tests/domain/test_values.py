import pickle
from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import pytest

from llmtrace.domain.usage import Usage
from llmtrace.domain.values import Freezing, dataclass


@dataclass(slots=True)
class Count:
    """What is no value."""

    times: int = 0


@pytest.fixture(params=[True, False], ids=["in-tests", "at-run-time"])
def value(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(Freezing, "indeed", request.param)

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Place:
        """A value."""

        name: str
        size: int = 0

    return Place


def test_a_value_is_what_the_standard_librarys_is(value: Any) -> None:
    place = value(name="a", size=1)
    assert (place, hash(place)) == (value(name="a", size=1), hash(value(name="a", size=1)))
    assert repr(place).endswith("Place(name='a', size=1)")
    assert replace(place, size=2) == value(name="a", size=2)
    assert [field.name for field in fields(place)] == ["name", "size"]


def test_a_value_outlives_its_process() -> None:
    used = Usage(input_tokens=1)
    assert pickle.loads(pickle.dumps(used)) == used  # noqa: S301  # made here


def test_at_run_time_alone_a_value_can_be_written_to(value: Any) -> None:
    place = value(name="a")
    if Freezing.indeed:
        with pytest.raises(FrozenInstanceError, match="'size'"):
            place.size = 1
    else:
        place.size = 1
        assert place.size == 1


def test_what_is_not_frozen_can_be_written_to_and_has_no_hash() -> None:
    count = Count()
    count.times += 1
    assert count.times == 1
    assert Count.__hash__ is None
