"""The options that say which traces are meant."""

from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import click

from llmtrace.domain.times import moment
from llmtrace.domain.traces import Outcome


class Moment(click.ParamType[datetime]):
    """A point in time: ISO 8601, or how long ago, such as ``2h``. Without a zone: local time."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Return an aware time."""
        if isinstance(value, datetime):
            return value
        try:
            return moment(value, now=datetime.now(UTC))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class OneOf[Member: StrEnum](click.Choice[str]):
    """A member of an enumeration, by its value."""

    def __init__(self, members: type[Member]) -> None:
        super().__init__([member.value for member in members], case_sensitive=False)
        self._members = members

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Member:
        """Return the member."""
        return self._members(super().convert(value, param, ctx))


class TraceId(click.ParamType[str]):
    """The id of a call, in its canonical form."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return it in small letters."""
        try:
            found = str(UUID(value))
        except ValueError:
            found = ""
        if found != str(value).lower():
            self.fail(f"{value[:64]!r} is no id of a call, such as 019ab0c2-…", param, ctx)
        return found


_OPTIONS: Final = (
    click.option("--since", type=Moment(), help="From this time on: ISO 8601, or 30m, 2h, 7d."),
    click.option("--until", type=Moment(), help="Before this time."),
    click.option("--tenant", help="Who pays."),
    click.option("--agent", help="Who acts."),
    click.option("--run", help="One 'llmtrace run', by its name."),
    click.option("--provider", help="Such as anthropic."),
    click.option("--dialect", help="Such as openai.chat."),
    click.option("--model", help="The model that was asked, by its whole name."),
    click.option(
        "--outcome",
        type=click.Choice([outcome.value for outcome in Outcome]),
        metavar="OUTCOME",
        help="How it ended: ok, refused, provider_error, client_left, ….",
    ),
    click.option("--conversation", help="All turns of one conversation."),
    click.option("--text", help="Words in prompt or answer, all of them."),
)


def filters[F: Callable[..., Any]](command: F) -> F:
    """Add the options; they have the names of ``TraceQuery``."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
