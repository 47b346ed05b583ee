from datetime import UTC, datetime, timedelta
from typing import Any

import click
import pytest
from click.testing import CliRunner

from llmtrace.cli.filters import Moment, OneOf, filters
from llmtrace.domain.findings import Severity
from llmtrace.storage.base import TraceQuery


def read(text: str) -> datetime:
    moment: datetime = Moment().convert(text, None, None)
    return moment


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("30s", timedelta(seconds=30)),
        ("5m", timedelta(minutes=5)),
        ("2h", timedelta(hours=2)),
        ("7d", timedelta(days=7)),
    ],
)
def test_how_long_ago(text: str, ago: timedelta) -> None:
    before = datetime.now(UTC)
    assert before - ago <= read(text) <= datetime.now(UTC) - ago


def test_iso_8601_with_a_zone() -> None:
    assert read("2026-03-04T13:00:00+01:00") == datetime(2026, 3, 4, 12, tzinfo=UTC)


def test_without_a_zone_it_is_local_time() -> None:
    assert read("2026-03-04 12:00").tzinfo is UTC
    assert read("2026-03-04 12:00") == datetime(2026, 3, 4, 12).astimezone()


@pytest.mark.parametrize("text", ["", "yesterday", "2w", "-1h", "999999d", "h", "1.5h"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="neither ISO 8601 nor like 30m"):
        read(text)


def test_the_options_are_those_of_a_query() -> None:
    found: dict[str, Any] = {}

    @click.command()
    @filters
    def command(**wanted: Any) -> None:
        found.update(wanted)

    assert CliRunner().invoke(command, ["--since", "1h", "--text", "a b"]).exit_code == 0
    assert TraceQuery(**found).text == "a b"
    options = set(found) | {"limit", "before_id"}
    assert options == set(TraceQuery.__dataclass_fields__)


def test_an_unknown_outcome_is_refused() -> None:
    @click.command()
    @filters
    def command(**_wanted: Any) -> None: ...

    assert CliRunner().invoke(command, ["--outcome", "good"]).exit_code == 2


def test_a_member_is_meant_by_its_value_in_any_case() -> None:
    assert OneOf(Severity).convert("High", None, None) is Severity.HIGH
    assert list(OneOf(Severity).choices) == [severity.value for severity in Severity]
    with pytest.raises(click.BadParameter, match="critical"):
        OneOf(Severity).convert("bad", None, None)
