import pickle
from dataclasses import FrozenInstanceError, fields, replace

import pytest

from llmtrace.domain import values
from llmtrace.domain.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A value."""

    name: str
    size: int = 0


@dataclass(slots=True)
class Count:
    """What is no value."""

    times: int = 0


def test_a_value_is_what_the_standard_librarys_is() -> None:
    place = Place(name="a", size=1)
    assert (place, hash(place)) == (Place(name="a", size=1), hash(Place(name="a", size=1)))
    assert repr(place) == "Place(name='a', size=1)"
    assert replace(place, size=2) == Place(name="a", size=2)
    assert [field.name for field in fields(place)] == ["name", "size"]
    assert pickle.loads(pickle.dumps(place)) == place  # noqa: S301  # made here


def test_in_the_tests_a_value_is_frozen() -> None:
    place = Place(name="a")
    with pytest.raises(FrozenInstanceError, match="'size'"):
        place.size = 1  # type: ignore[misc]  # that is the point
    with pytest.raises(FrozenInstanceError, match="'other'"):
        place.other = 1  # type: ignore[attr-defined]  # that is the point
    with pytest.raises(FrozenInstanceError, match="'name'"):
        delattr(place, "name")  # the type checkers refuse the statement
    assert place == Place(name="a")


def test_what_is_not_frozen_can_be_written_to_and_has_no_hash() -> None:
    count = Count()
    count.times += 1
    assert count.times == 1
    assert Count.__hash__ is None
    assert Count not in values.DECLARED
