"""``llmtrace agents``: see which agents are stopped, and let them go on."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import click

from llmtrace.app.ledgers import ledger_of
from llmtrace.app.settings import Settings
from llmtrace.cli.common import config_option, json_option, read_config, terminal_width, visible
from llmtrace.cli.rows import Column, print_rows
from llmtrace.environment.home import Home, home
from llmtrace.environment.program import program
from llmtrace.limits.agentholds import held_agent
from llmtrace.limits.refusals import instant
from llmtrace.storage.base import StorageError
from llmtrace.storage.codec import to_json
from llmtrace.storage.ledger import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """An agent that is stopped, and under which key."""

    key: str
    tenant: str
    agent: str
    reason: str
    since: datetime
    until: datetime | None

    def document(self) -> dict[str, object]:
        """Return it as JSON has it."""
        return {
            "tenant": self.tenant,
            "agent": self.agent,
            "reason": self.reason,
            "since": instant(self.since),
            "until": instant(self.until),
        }


@click.group()
def agents() -> None:
    """See which agents were stopped for running in circles, and let them go on."""


@agents.command("list")
@config_option
@json_option
def list_(config: Path | None, as_json: bool) -> None:
    """List the agents that are stopped, and why."""
    with _ledger(config) as ledger:
        stopped = _stopped(ledger)
    if as_json:
        _write([one.document() for one in stopped])
    elif not stopped:
        click.echo("no agent is stopped", err=True)
    else:
        print_rows(STOPPED, stopped, terminal_width())
        click.echo(f"to let one go on: {program()} agents release NAME", err=True)


@agents.command()
@config_option
@click.argument("name")
@click.option("--tenant", help="Only that of this tenant, where several have an agent of the name.")
@json_option
def release(config: Path | None, name: str, tenant: str | None, as_json: bool) -> None:
    """Let a stopped agent go on. It may go as far again until it is stopped anew."""
    with _ledger(config) as ledger:
        meant = [
            one for one in _stopped(ledger) if one.agent == name and tenant in (None, one.tenant)
        ]
        released = [one for one in meant if ledger.release(one.key)]
    if as_json:
        _write([one.document() for one in released])
    for one in released:
        if not as_json:
            click.echo(f"released {visible(one.agent)} of tenant {visible(one.tenant)}")
    if not released:
        raise click.ClickException(
            f"no agent {visible(name)[:64]!r} is stopped; see '{program()} agents list'"
        )


def _stopped(ledger: Ledger) -> Sequence[Stopped]:
    return [
        Stopped(
            key=hold.key,
            tenant=named[0],
            agent=named[1],
            reason=hold.reason,
            since=hold.since,
            until=hold.until,
        )
        for hold in ledger.holds()
        if (named := held_agent(hold.key)) is not None
    ]


@contextmanager
def _ledger(config: Path | None) -> Iterator[Ledger]:
    """Open the ledger in which agents are held; it is made if it is not there."""
    settings = Settings(config=read_config(config), home=Home(home()))
    try:
        settings.prepare()
        ledger = ledger_of(settings)
    except (StorageError, OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    try:
        yield ledger
    except StorageError as error:
        raise click.ClickException(str(error)) from error
    finally:
        ledger.close()


def _write(value: object) -> None:
    sys.stdout.buffer.write(to_json(value) + b"\n")
    sys.stdout.buffer.flush()


def _when(moment: datetime | None) -> str:
    return f"{moment.astimezone():%m-%d %H:%M}" if moment else "you release it"


STOPPED: Final[tuple[Column[Stopped], ...]] = (
    Column(title="agent", width=16, value=lambda one: one.agent),
    Column(title="tenant", width=16, least=110, value=lambda one: one.tenant),
    Column(title="since", width=11, value=lambda one: _when(one.since)),
    Column(title="until", width=14, least=110, value=lambda one: _when(one.until)),
    Column(title="why", width=36, grows=60, value=lambda one: one.reason),
)
