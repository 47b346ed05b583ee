"""How far a long scan is, on a terminal; and the lines that it says meanwhile."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text


class Meter:
    """Says lines, on standard output."""

    def say(self, line: str) -> None:
        """Write a line; its colours go where output is no terminal."""
        click.echo(line)

    def advance(self, done: int) -> None:
        """Tell that one more text is done, and how many bytes of all were read."""


class _Bar(Meter):
    def __init__(self, progress: Progress, total: int | None, *, shared: bool) -> None:
        self._progress = progress
        self._shared = shared
        self._task = progress.add_task("", total=total, texts=0)
        self._texts = 0

    def say(self, line: str) -> None:
        if not self._shared:  # the bar is on standard error, and does not stand in the way
            super().say(line)
            return
        self._progress.console.print(Text.from_ansi(line), soft_wrap=True)

    def advance(self, done: int) -> None:
        self._texts += 1
        self._progress.update(self._task, completed=done, texts=self._texts)


@contextmanager
def metered(total: int | None, *, lines: bool) -> Iterator[Meter]:
    """Show a bar while texts are scanned, if there is a terminal that nothing else is written to.

    Args:
        total: Bytes to be scanned, None where nobody knows.
        lines: Whether only lines for people are written to standard output, and by ``say``.
    """
    shared = sys.stdout.isatty()
    if not sys.stderr.isatty() or (shared and not lines):
        yield Meter()
        return
    columns = (
        SpinnerColumn(),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%") if total else TextColumn(""),
        TextColumn("{task.fields[texts]} texts"),
        TimeElapsedColumn(),
    )
    console = Console(stderr=not shared, highlight=False)
    bar = Progress(*columns, console=console, transient=True, redirect_stdout=False)
    with bar as progress:
        yield _Bar(progress, total, shared=shared)
