from datetime import UTC, datetime, timedelta

import click
import pytest

from llmtrace.cli.ahead import Ahead, Duration


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), ("30s", 30), ("10m", 600), ("24h", 86_400), ("90d", 7_776_000)]
)
def test_a_duration_is_read(text: str, seconds: int) -> None:
    assert Duration().convert(text, None, None) == timedelta(seconds=seconds)
    assert Duration().convert(timedelta(seconds=1), None, None) == timedelta(seconds=1)


def test_a_time_to_come_is_read() -> None:
    soon = Ahead().convert("1h", None, None) - datetime.now(UTC)
    assert timedelta(minutes=59) < soon <= timedelta(hours=1)
    noon = datetime(2027, 1, 1, 12, tzinfo=UTC)
    assert Ahead().convert("2027-01-01T12:00:00Z", None, None) == noon
    assert Ahead().convert(noon, None, None) == noon
    assert Ahead().convert("2027-01-01", None, None).tzinfo is UTC


def test_the_longest_is_a_hundred_years() -> None:
    assert Duration().convert("999999d", None, None) == timedelta(days=36_500)


@pytest.mark.parametrize("text", ["", "-1", "1y", "soon", "9999999d", "1 h", "-1h", "1.5h"])
@pytest.mark.parametrize("kind", [Duration, Ahead], ids=["duration", "time"])
def test_anything_else_is_refused(kind: type[click.ParamType[object]], text: str) -> None:
    with pytest.raises(click.BadParameter, match="24h"):
        kind().convert(text, None, None)
