"""``llmtrace traces``: list, show, follow and export what was recorded."""

import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import click
import orjson

from llmtrace.app.recorder import open_storage
from llmtrace.app.settings import Settings
from llmtrace.cli.common import (
    config_option,
    dollars,
    json_option,
    print_table,
    read_config,
    visible,
)
from llmtrace.domain.traces import Body, Trace
from llmtrace.environment.home import Home, home
from llmtrace.storage.base import Storage, StorageError, TraceNotFound, TraceQuery
from llmtrace.storage.codec import to_json
from llmtrace.storage.export import csv_lines, jsonl_lines, trace_row
from llmtrace.storage.recorder import catch_up
from llmtrace.storage.registry import close

MAX_ROWS: Final = 10_000
POLL_SECONDS: Final = 0.5
SHOWN_CHARS: Final = 2000
_AGO: Final = re.compile(r"(\d{1,6})([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class Moment(click.ParamType[datetime]):
    """A point in time: ISO 8601, or how long ago, such as ``2h``."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Return an aware time."""
        if isinstance(value, datetime):
            return value
        ago = _AGO.fullmatch(value)
        try:
            if ago:
                return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
            moment = datetime.fromisoformat(value)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is neither ISO 8601 nor like 30m, 2h, 7d", param, ctx)
        return moment if moment.tzinfo else moment.astimezone()


def filters[F: Callable[..., Any]](command: F) -> F:
    """Add the options that say which traces are meant."""
    options = (
        click.option("--since", type=Moment(), help="From this time on: ISO 8601, or 30m, 2h, 7d."),
        click.option("--until", type=Moment(), help="Before this time."),
        click.option("--tenant"),
        click.option("--agent"),
        click.option("--run", help="One 'llmtrace run', by its name."),
        click.option("--provider"),
        click.option("--dialect", help="Such as openai.chat."),
        click.option("--model"),
        click.option("--outcome", help="Such as ok, refused, provider_error."),
        click.option("--conversation", help="All turns of one conversation."),
        click.option("--text", help="Words in prompt or answer."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@contextmanager
def stores(config: Path | None) -> Iterator[Storage]:
    """Open what is kept, to look at; records that no gateway moved yet are moved first."""
    settings = Settings(config=read_config(config), home=Home(home()))
    if settings.config.storage.profile == "memory":
        raise click.ClickException("storage.profile is memory: this configuration keeps no traces")
    try:
        _ship_what_is_left(settings)
        if not settings.database.exists():
            raise click.ClickException(
                f"there are no traces yet: {settings.database} does not exist. "
                "Run 'llmtrace demo', or 'llmtrace run -- CMD', first."
            )
        storage = open_storage(settings, read_only=True)
    except (StorageError, OSError) as error:
        raise click.ClickException(str(error)) from error
    try:
        yield storage
    except StorageError as error:
        raise click.ClickException(str(error)) from error
    finally:
        close(storage)


def _ship_what_is_left(settings: Settings) -> None:
    """Move the journal's rest to the store; ``catch_up`` leaves it to a recorder that lives."""
    if not settings.spool.is_dir():
        return
    storage = open_storage(settings)
    try:
        catch_up(settings.spool, storage)
    finally:
        close(storage)


@click.group()
def traces() -> None:
    """List, show, follow and export recorded calls."""


@traces.command("list")
@config_option
@filters
@click.option("--limit", type=click.IntRange(1, MAX_ROWS), default=50, show_default=True)
@click.option("--before-id", help="Only calls older than this one: the next page.")
@json_option
def list_(config: Path | None, as_json: bool, **wanted: Any) -> None:
    """List calls, newest first."""
    with stores(config) as storage:
        found = storage.traces.query(TraceQuery(**wanted))
    if as_json:
        sys.stdout.buffer.write(to_json([trace_row(trace) for trace in found]) + b"\n")
        return
    if not found:
        click.echo("no calls match", err=True)
        return
    columns = ["started", "agent", "model", "outcome", ">in", ">out", ">cost", ">ms", "trace"]
    print_table(columns, [_row(trace) for trace in found])


@traces.command()
@config_option
@click.argument("trace_id")
@click.option("--body", type=click.Choice(["request", "answer"]), help="Write a body, as it was.")
@json_option
def show(config: Path | None, trace_id: str, body: str | None, as_json: bool) -> None:
    """Show one call: what is known of it, and what was said."""
    with stores(config) as storage:
        try:
            trace = storage.traces.get(trace_id)
            bodies = {
                which: storage.traces.body(trace_id, which) for which in ("request", "answer")
            }
        except TraceNotFound:
            raise click.ClickException(
                f"there is no trace {visible(trace_id)[:64]!r}; 'llmtrace traces list' has them"
            ) from None
    if body:
        content = bodies[body]
        sys.stdout.buffer.write(content.content if content else b"")
    elif as_json:
        sys.stdout.buffer.write(to_json(trace_row(trace)) + b"\n")
    else:
        _show(trace, bodies)


@traces.command()
@config_option
@filters
@click.option("--seconds", type=click.FloatRange(0), help="Stop after this long.")
@json_option
def tail(config: Path | None, seconds: float | None, as_json: bool, **wanted: Any) -> None:
    """Follow calls as they end; Ctrl-C stops."""
    until = time.monotonic() + seconds if seconds is not None else None
    with stores(config) as storage:
        seen = {t.trace_id for t in storage.traces.query(TraceQuery(**wanted, limit=200))}
        while until is None or time.monotonic() < until:
            found = storage.traces.query(TraceQuery(**wanted, limit=200))
            for trace in reversed(found):
                if trace.trace_id not in seen and trace.outcome != "pending":
                    seen.add(trace.trace_id)
                    _tell(trace, as_json=as_json)
            time.sleep(POLL_SECONDS)


@traces.command()
@config_option
@filters
@click.option("--format", "form", type=click.Choice(["jsonl", "csv"]), default="jsonl")
@click.option("--bodies", is_flag=True, help="Prompts and answers too (jsonl).")
@click.option("--output", "-o", type=click.File("wb", lazy=True), default="-")
def export(config: Path | None, form: str, bodies: bool, output: Any, **wanted: Any) -> None:
    """Write all calls that match, oldest first."""
    with stores(config) as storage:
        records = storage.traces.export(TraceQuery(**wanted))
        if form == "csv":
            for line in csv_lines(record.trace for record in records):
                output.write(line.encode())
        else:
            for data in jsonl_lines(records, bodies=bodies):
                output.write(data)


def _row(trace: Trace) -> list[str]:
    return [
        trace.started_at.astimezone().strftime("%m-%d %H:%M:%S"),
        trace.run or trace.agent,
        trace.model_answered or trace.model or trace.operation,
        trace.error_code or trace.outcome.value,
        str(trace.usage.input_tokens),
        str(trace.usage.output_tokens),
        dollars(trace.cost_nano_usd),
        f"{trace.duration_ms:.0f}" if trace.duration_ms is not None else "-",
        trace.trace_id,
    ]


def _tell(trace: Trace, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.buffer.write(to_json(trace_row(trace)) + b"\n")
        sys.stdout.buffer.flush()
    else:
        click.echo("  ".join(visible(cell) for cell in _row(trace)))


def _show(trace: Trace, bodies: dict[str, Body | None]) -> None:
    cached = f" ({trace.usage.cache_read_tokens} cached)" if trace.usage.cache_read_tokens else ""
    first = f", first token after {trace.ttft_ms:.0f} ms" if trace.ttft_ms is not None else ""
    run = f", run {trace.run}" if trace.run else ""
    took = f"{trace.duration_ms:.0f} ms{first}" if trace.duration_ms is not None else "-"
    rows = {
        "trace": trace.trace_id,
        "started": trace.started_at.astimezone().isoformat(timespec="milliseconds"),
        "caller": f"{trace.agent} (tenant {trace.tenant}{run})",
        "client": f"{trace.client} {trace.client_version}".strip(),
        "call": f"{trace.method} {trace.host}{trace.path} ({trace.mode})",
        "dialect": f"{trace.provider} / {trace.dialect}, {trace.operation}",
        "model": f"{trace.model} → {trace.model_answered or '-'}",
        "ended": f"{trace.outcome} {trace.status or ''} {trace.error_code} {trace.error}".strip(),
        "took": took,
        "tokens": f"{trace.usage.input_tokens} in{cached}, {trace.usage.output_tokens} out "
        f"({trace.usage_source})",
        "cost": f"{dollars(trace.cost_nano_usd)} {trace.price_version}".strip(),
        "conversation": f"{trace.conversation or '-'}, turn {trace.turn}",
        "unread": ", ".join(f"{gap.size} bytes {gap.reason}" for gap in trace.coverage.gaps) or "0",
    }
    for name, value in rows.items():
        click.echo(f"{name:>13}  {visible(value)}")
    for action in trace.actions:
        click.echo(f"{'action':>13}  {visible(f'{action.name} {action.arguments}')[:SHOWN_CHARS]}")
    for which, body in bodies.items():
        if body is not None:
            click.echo(f"\n{which} ({len(body.content)} bytes, {visible(body.media_type)})")
            click.echo(_excerpt(body.content))
    click.echo(f"\nwhole bodies: llmtrace traces show {trace.trace_id} --body request|answer")


def _excerpt(content: bytes) -> str:
    try:
        text = orjson.dumps(orjson.loads(content), option=orjson.OPT_INDENT_2).decode()
    except orjson.JSONDecodeError:
        text = content.decode(errors="replace")
    lines = "\n".join(visible(line) for line in text[:SHOWN_CHARS].splitlines())
    return lines + (" …" if len(text) > SHOWN_CHARS else "")
