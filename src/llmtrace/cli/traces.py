"""``llmtrace traces``: list, show, follow and export what was recorded."""

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final

import click

from llmtrace.app.settings import Settings
from llmtrace.app.stores import open_storage
from llmtrace.cli.columns import CALLS
from llmtrace.cli.common import (
    config_option,
    counted,
    json_option,
    read_config,
    terminal_width,
    visible,
)
from llmtrace.cli.details import decision, facts
from llmtrace.cli.filters import TraceId, filters
from llmtrace.cli.following import Following
from llmtrace.cli.rows import header, print_rows, row_text
from llmtrace.domain.traces import Body, Trace
from llmtrace.environment.home import Home, home
from llmtrace.environment.program import program
from llmtrace.storage.base import Storage, StorageError, TraceNotFound, TraceQuery
from llmtrace.storage.codec import to_json
from llmtrace.storage.export import csv_lines, jsonl_lines, trace_row
from llmtrace.storage.recorder import catch_up
from llmtrace.storage.registry import close

MAX_ROWS: Final = 10_000
POLL_SECONDS: Final = 0.5
LAY_OUT_SECONDS: Final = 5.0
SHOWN_ACTION: Final = 300
SHOWN_FINDINGS: Final = 20


@contextmanager
def stores(config: Path | None, *, wait_until: float | None = None) -> Iterator[Storage]:
    """Open what is kept, to look at; records that no gateway moved yet are moved first.

    Where nothing was kept yet it waits until ``wait_until`` (of ``time.monotonic``).
    """
    settings = Settings(config=read_config(config), home=Home(home()))
    if settings.config.storage.profile == "memory":
        raise click.ClickException("storage.profile is memory: this configuration keeps no traces")
    try:
        _ship_what_is_left(settings)
        if wait_until is not None:
            _wait_for(settings.database, wait_until)
        if not settings.database.exists():
            raise click.ClickException(
                f"there are no traces yet: {settings.database} does not exist. "
                f"Run '{program()} demo', or '{program()} run -- CMD', first."
            )
        storage = _opened(settings)
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
    try:
        storage = open_storage(settings)
        try:
            catch_up(settings.spool, storage)
        finally:
            close(storage)
    except (StorageError, OSError) as error:
        # What is kept can be looked at all the same, by another user, say.
        click.echo(f"llmtrace: the newest calls may be missing: {error}", err=True)


def _wait_for(database: Path, until: float) -> None:
    if not database.exists():
        click.echo(f"waiting for the first call ({database})", err=True)
    while not database.exists() and time.monotonic() < until:
        time.sleep(POLL_SECONDS)


def _opened(settings: Settings) -> Storage:
    """Open the stores; a recorder that lays them out in this moment has a little time."""
    until = time.monotonic() + LAY_OUT_SECONDS
    while time.time() - settings.database.stat().st_mtime < LAY_OUT_SECONDS:
        with suppress(StorageError):
            return open_storage(settings, read_only=True)
        if time.monotonic() > until:
            break
        time.sleep(0.1)
    return open_storage(settings, read_only=True)


def no_such_trace(trace_id: str) -> click.ClickException:
    """Return the error that says so, and where to look."""
    return click.ClickException(
        f"there is no trace '{visible(trace_id)[:64]}'; "
        f"'{program()} traces list' has those that are kept"
    )


@click.group()
def traces() -> None:
    """List, show, follow and export recorded calls."""


@traces.command(
    "list",
    epilog="""\b
Examples:
    llmtrace traces list --since 2h --model gpt-5
    llmtrace traces list --text "nightly build" --outcome ok
    llmtrace traces list --json | jq '.[].cost_usd'
""",
)
@config_option
@filters
@click.option(
    "--limit",
    type=click.IntRange(1, MAX_ROWS),
    default=50,
    show_default=True,
    help="At most so many calls.",
)
@click.option("--before-id", type=TraceId(), help="Only calls older than this one: the next page.")
@json_option
def list_(config: Path | None, as_json: bool, **wanted: Any) -> None:
    """List calls, newest first."""
    with stores(config) as storage:
        found = storage.traces.query(TraceQuery(**wanted))
    if as_json:
        _write(to_json([trace_row(trace) for trace in found]) + b"\n")
        return
    if not found:
        click.echo("no calls match", err=True)
        return
    print_rows(CALLS, found, terminal_width())
    if len(found) == wanted["limit"]:
        click.echo(f"older ones: --before-id {visible(found[-1].trace_id)}", err=True)


@traces.command(
    epilog="""\b
Examples:
    llmtrace traces show 019ab0c2-…
    llmtrace traces show 019ab0c2-… --body request | jq .
"""
)
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
            raise no_such_trace(trace_id) from None
    if body:
        content = bodies[body]
        if content is None:
            raise click.ClickException(f"no {body} body is kept of this call")
        _write(content.content)
    elif as_json:
        _write(to_json(trace_row(trace)) + b"\n")
    else:
        _show(trace, bodies)


@traces.command(
    epilog="""\b
Examples:
    llmtrace traces tail --run brave-otter-3f1a
    llmtrace traces tail --json | jq -c '{model, cost_usd}'
"""
)
@config_option
@filters
@click.option("--seconds", type=click.FloatRange(0), help="Stop after this long.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def tail(config: Path | None, seconds: float | None, as_json: bool, **wanted: Any) -> None:
    """Follow calls as they end; Ctrl-C stops."""
    until = time.monotonic() + (float("inf") if seconds is None else seconds)
    with suppress(KeyboardInterrupt), stores(config, wait_until=until) as storage:
        following = Following(storage.traces, TraceQuery(**wanted))
        if not as_json and sys.stdout.isatty():
            click.secho(header(CALLS, terminal_width()), bold=True)
        while True:
            for trace in following.new():
                _tell(trace, as_json=as_json)
            if time.monotonic() >= until:
                return
            time.sleep(min(POLL_SECONDS, max(0.0, until - time.monotonic())))


@traces.command(
    epilog="""\b
Examples:
    llmtrace traces export --since 7d --bodies -o week.jsonl
    llmtrace traces export --format csv > calls.csv
"""
)
@config_option
@filters
@click.option(
    "--format",
    "form",
    type=click.Choice(["jsonl", "csv"]),
    default="jsonl",
    help="One JSON object a line, or a table.",
)
@click.option("--bodies", is_flag=True, help="Prompts and answers too (jsonl).")
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=str),
    default="-",
    help="File to write, for its owner's eyes only.  [default: standard output]",
)
def export(config: Path | None, form: str, bodies: bool, output: str, **wanted: Any) -> None:
    """Write all calls that match, oldest first, however many they are."""
    if bodies and form == "csv":
        raise click.UsageError("--bodies needs --format jsonl")
    with stores(config) as storage, _sink(output) as sink:
        records = storage.traces.export(TraceQuery(**wanted))
        if form == "csv":
            for line in csv_lines(record.trace for record in records):
                sink.write(line.encode())
        else:
            for data in jsonl_lines(records, bodies=bodies):
                sink.write(data)


@contextmanager
def _sink(output: str) -> Iterator[IO[bytes]]:
    if output == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        fd = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as error:
        raise click.ClickException(f"{output}: cannot be written: {error.strerror}") from error
    with open(fd, "wb") as file:
        yield file


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _tell(trace: Trace, *, as_json: bool) -> None:
    if as_json:
        _write(to_json(trace_row(trace)) + b"\n")
    else:
        click.echo(row_text(CALLS, trace, terminal_width()))


def _show(trace: Trace, bodies: Mapping[str, Body | None]) -> None:
    # What reads bodies takes a moment to load: not for lists.
    from llmtrace.cli.transcript import INDENT, answer_lines, laid_out, request_lines

    label = INDENT - 2
    for name, value in facts(trace).items():
        click.echo(f"{click.style(f'{name:>{label}}', dim=True)}  {visible(value)}")
    for finding in trace.findings[:SHOWN_FINDINGS]:
        text = visible(f"{finding.kind}, {finding.severity}, at {finding.location}")
        became = decision(finding.verdict, trace.verdict)
        click.echo(f"{click.style(f'{became:>{label}}', fg='red')}  {text}")
    if trace.findings:
        told = f"'{program()} findings show {visible(trace.trace_id)}' explains"
        click.secho(f"{'':>{label}}  {told} {counted(len(trace.findings), 'finding')}", dim=True)
    for action in trace.actions:
        text = visible(f"{action.name} {action.arguments}")[:SHOWN_ACTION]
        click.echo(f"{click.style(f'{action.action_type:>{label}}', fg='yellow')}  {text}")
    width = terminal_width()
    for which, read in (("request", request_lines), ("answer", answer_lines)):
        body = bodies[which]
        if body is None:
            continue
        kind = f", {visible(body.media_type)}" if body.media_type else ""
        click.secho(f"\n{which} ({len(body.content):,} bytes{kind})", bold=True)
        for who, text in laid_out(read(trace, body), width=width):
            click.echo(f"{click.style(f'{who:>{label}}', fg='cyan')}  {text}")
    if any(bodies.values()):
        click.secho("\nwhole and as they were: add --body request, or --body answer", dim=True)
