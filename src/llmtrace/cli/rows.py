"""Things as rows of text: which columns a screen has room for, and how a line is laid out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import click
from rich.cells import cell_len, set_cell_size

from llmtrace.cli.common import WIDEST, visible

GAP: Final = "  "


@dataclass(frozen=True, slots=True, kw_only=True)
class Column[T]:
    """One column, for screens of ``least`` to ``most`` cells; None is as wide as can be."""

    title: str
    width: int
    value: Callable[[T], str]
    least: int = 0
    most: int | None = None
    right: bool = False
    grows: int = 0
    """How much wider it becomes where there is room."""
    whole: bool = False
    """Never cut, even where the screen is too narrow: people copy it."""


def columns_for[T](columns: Sequence[Column[T]], width: int | None) -> Sequence[Column[T]]:
    """Return the columns that a screen has room for; all of them where it is no screen."""
    room = WIDEST if width is None else width
    shown = [c for c in columns if c.least <= room and (c.most is None or room <= c.most)]
    left = room - sum(column.width + len(GAP) for column in shown) + len(GAP)
    for index, column in enumerate(shown):
        grown = min(max(0, left), column.grows)
        shown[index] = replace(column, width=column.width + grown)
        left -= grown
    return shown


def header[T](columns: Sequence[Column[T]], width: int | None) -> str:
    """Return the titles."""
    shown = columns_for(columns, width)
    return _line(shown, [column.title for column in shown], cut=width is not None)


def row_text[T](columns: Sequence[Column[T]], item: T, width: int | None) -> str:
    """Return an item as one line; on a screen what is too long is cut with an ellipsis."""
    shown = columns_for(columns, width)
    return _line(shown, [visible(column.value(item)) for column in shown], cut=width is not None)


def print_rows[T](columns: Sequence[Column[T]], items: Sequence[T], width: int | None) -> None:
    """Write items to standard output, one a line; ``width`` is that of the screen, if it is one."""
    shown = columns_for(columns, width)
    rows = [[visible(column.value(item)) for column in shown] for item in items]
    if width is None:  # as wide as the longest cell: nothing is cut, and all stands in line
        longest = (max(map(cell_len, cells)) for cells in zip(*rows, strict=True))
        shown = [
            replace(c, width=max(n, len(c.title))) for c, n in zip(shown, longest, strict=True)
        ]
    click.secho(_line(shown, [column.title for column in shown], cut=width is not None), bold=True)
    for row in rows:
        click.echo(_line(shown, row, cut=width is not None))


def _line[T](columns: Sequence[Column[T]], cells: Sequence[str], *, cut: bool) -> str:
    fitted = [_fit(column, cell, cut=cut) for column, cell in zip(columns, cells, strict=True)]
    return GAP.join(fitted).rstrip()


def _fit[T](column: Column[T], cell: str, *, cut: bool) -> str:
    size = cell_len(cell)
    if size > column.width and cut and not column.whole:
        return set_cell_size(cell, column.width - 1) + "…"
    padding = " " * (column.width - size)
    return padding + cell if column.right else cell + padding
