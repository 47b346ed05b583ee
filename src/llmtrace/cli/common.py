"""What commands share: reading the configuration, tables and JSON, errors for people."""

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click
import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from llmtrace.config import Config, ConfigError, load

BAD_CONFIG: Final = 2
WIDEST: Final = 100_000

config_option: Callable[..., Any] = click.option(
    "--config",
    "-c",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="LLMTRACE_CONFIG",
    help="YAML file; see config.example.yaml.",
)
json_option: Callable[..., Any] = click.option(
    "--json", "as_json", is_flag=True, help="One JSON document on standard output."
)


def read_config(path: Path | None, overrides: Mapping[str, object] | None = None) -> Config:
    """Return the configuration, or end the program with 2 and say what is wrong where."""
    try:
        return load(path, overrides=overrides)
    except ConfigError as error:
        for line in str(error).splitlines():
            click.echo(line, err=True)
        sys.exit(BAD_CONFIG)


def counted(number: int, noun: str) -> str:
    """Write a number of things: ``1 call``, ``2 calls``."""
    return f"{number} {noun}{'s' * (number != 1)}"


def print_json(value: object) -> None:
    """Write a JSON document to standard output."""
    sys.stdout.buffer.write(orjson.dumps(value, option=orjson.OPT_INDENT_2, default=str) + b"\n")
    sys.stdout.flush()


def terminal_width() -> int | None:
    """Return how many cells a line of the screen has, None where output goes elsewhere."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write a table to standard output; a column named ``>NAME`` is aligned to the right.

    Control characters in cells are made visible. On a screen long cells are folded; elsewhere
    a row is one line, however long.
    """
    table = Table(box=None, pad_edge=False, header_style="bold", show_header=any(columns))
    for column in columns:
        right = column.startswith(">")
        table.add_column(column.lstrip(">"), overflow="fold", justify="right" if right else "left")
    for row in rows:
        table.add_row(*(Text(visible(cell)) for cell in row))
    console = Console()
    if console.is_terminal:
        console.print(table)
        return
    wide = Console(width=WIDEST)
    wide.width = min(WIDEST, wide.measure(table).maximum)
    with wide.capture() as lines:
        wide.print(table)
    for line in lines.get().splitlines():
        click.echo(line.rstrip())


def visible(text: str) -> str:
    """Write control characters as escapes, so that what a peer sent cannot move the cursor."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def dollars(nano_usd: int | None) -> str:
    """Write money for people: ``$0.0123``; ``-`` where nothing is known."""
    if nano_usd is None:
        return "-"
    return f"${nano_usd / 1e9:.4f}" if nano_usd < 10**9 else f"${nano_usd / 1e9:.2f}"
