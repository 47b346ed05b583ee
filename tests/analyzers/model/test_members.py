from collections.abc import Callable
from typing import Any

import pytest

from llmtrace.analyzers.model.members import array, mapping, member, number, share, text, whole


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (mapping, {"a": 1}),
        (array, [1]),
        (text, "a name"),
        (number, -2.5),
        (share, 0.5),
        (whole(0, 3), 3),
        (whole(0, 3), 0),
    ],
)
def test_what_is_as_it_should_be_is_read(read: Callable[[Any], Any], value: Any) -> None:
    assert member({"x": value}, "x", read) == value


@pytest.mark.parametrize(
    ("read", "value", "said"),
    [
        pytest.param(mapping, [], "an object, found a list", id="list"),
        pytest.param(array, {}, "a list, found an object", id="object"),
        pytest.param(array, "ab", "a list, found a text", id="text"),
        pytest.param(text, None, "a text, found null", id="null"),
        pytest.param(text, "", "1 to 128 printable characters, found 0", id="empty"),
        pytest.param(text, "a" * 129, "1 to 128 printable characters, found 129", id="long"),
        pytest.param(text, "a\x1b[2J", "1 to 128 printable characters, found 5", id="control"),
        pytest.param(number, True, "a number, found true or false", id="truth"),
        pytest.param(number, float("nan"), "a finite number", id="nan"),
        pytest.param(number, float("inf"), "a finite number", id="inf"),
        pytest.param(number, 10**400, "a finite number", id="huge"),
        pytest.param(share, 0, "more than 0 and less than 1, found 0", id="never"),
        pytest.param(share, 1.1, "more than 0 and less than 1, found 1.1", id="beyond-sure"),
        pytest.param(share, float("nan"), "a finite number", id="share-nan"),
        pytest.param(whole(0, 3), 1.0, "a whole number, found 1.0", id="fraction"),
        pytest.param(whole(0, 3), True, "a whole number, found true or false", id="no-number"),
        pytest.param(whole(1, 3), 0, "1 to 3, found 0", id="less"),
        pytest.param(whole(1, 3), 10**400, "1 to 3, found 1000", id="more"),
    ],
)
def test_what_is_not_is_named_with_what_was_found(
    read: Callable[[Any], Any], value: Any, said: str
) -> None:
    with pytest.raises(ValueError, match=f"^outer: inner: expected {said}") as caught:
        member({"outer": {"inner": value}}, "outer", lambda one: member(one, "inner", read))
    assert len(str(caught.value)) < 120


def test_what_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match=r"^x: is not there$"):
        member({}, "x", text)
