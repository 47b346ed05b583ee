"""Calls as rows: which columns there are, and which of them a narrow screen has room for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import click
from rich.cells import cell_len, set_cell_size

from llmtrace.cli.common import WIDEST, dollars, visible
from llmtrace.domain.traces import Outcome, Trace

GAP: Final = "  "
_WELL: Final = (Outcome.OK, Outcome.PENDING)
MODEL_GROWS: Final = 14
"""How much wider the model's column becomes where there is room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column, for screens of ``least`` to ``most`` cells; None is as wide as can be."""

    title: str
    width: int
    value: Callable[[Trace], str]
    least: int = 0
    most: int | None = None
    right: bool = False
    whole: bool = False
    """Never cut, even where the screen is too narrow: people copy it."""


def _time(trace: Trace) -> str:
    started = trace.started_at.astimezone()
    today = started.date() == datetime.now(started.tzinfo).date()
    return f"{started:%H:%M:%S}" if today else f"{started:%m-%d %H:%M}"


COLUMNS: Final = (
    Column(title="started", width=11, value=_time),
    Column(title="agent", width=16, least=133, value=lambda t: t.run or t.agent),
    Column(title="model", width=18, value=lambda t: t.model_answered or t.model or t.operation),
    Column(title="outcome", width=9, least=90, value=lambda t: _end(t)),
    Column(title="in", width=7, least=107, right=True, value=lambda t: str(t.usage.input_tokens)),
    Column(title="out", width=6, least=107, right=True, value=lambda t: str(t.usage.output_tokens)),
    Column(title="cost", width=8, most=89, right=True, value=lambda t: _cost_or_end(t)),
    Column(title="cost", width=8, least=90, right=True, value=lambda t: dollars(t.cost_nano_usd)),
    Column(title="ms", width=6, least=115, right=True, value=lambda t: _ms(t.duration_ms)),
    Column(title="trace", width=36, whole=True, value=lambda t: t.trace_id),
)


def _cost_or_end(trace: Trace) -> str:
    """A narrow screen has no column for how a call ended, and one that failed must be seen."""
    return dollars(trace.cost_nano_usd) if trace.outcome in _WELL else _end(trace)


def _end(trace: Trace) -> str:
    return trace.error_code or trace.outcome.value


def _ms(milliseconds: float | None) -> str:
    return "-" if milliseconds is None else f"{milliseconds:.0f}"


def columns_for(width: int | None) -> Sequence[Column]:
    """Return the columns that a screen has room for; all of them where it is no screen."""
    room = WIDEST if width is None else width
    shown = [c for c in COLUMNS if c.least <= room and (c.most is None or room <= c.most)]
    left = (width or 0) - sum(column.width + len(GAP) for column in shown) + len(GAP)
    grown = min(max(0, left), MODEL_GROWS) if width else MODEL_GROWS
    return [replace(c, width=c.width + grown) if c.title == "model" else c for c in shown]


def header(width: int | None) -> str:
    """Return the titles."""
    shown = columns_for(width)
    return _line(shown, [column.title for column in shown], cut=width is not None)


def row_text(trace: Trace, width: int | None) -> str:
    """Return a call as one line; on a screen what is too long is cut with an ellipsis."""
    shown = columns_for(width)
    return _line(shown, [visible(column.value(trace)) for column in shown], cut=width is not None)


def print_traces(traces: Sequence[Trace], width: int | None) -> None:
    """Write calls to standard output, one a line; ``width`` is that of the screen, if it is one."""
    shown = columns_for(width)
    rows = [[visible(column.value(trace)) for column in shown] for trace in traces]
    if width is None:  # as wide as the longest cell: nothing is cut, and all stands in line
        longest = (max(map(cell_len, cells)) for cells in zip(*rows, strict=True))
        shown = [
            replace(c, width=max(n, len(c.title))) for c, n in zip(shown, longest, strict=True)
        ]
    click.secho(_line(shown, [column.title for column in shown], cut=width is not None), bold=True)
    for row in rows:
        click.echo(_line(shown, row, cut=width is not None))


def _line(columns: Sequence[Column], cells: Sequence[str], *, cut: bool) -> str:
    fitted = [_fit(column, cell, cut=cut) for column, cell in zip(columns, cells, strict=True)]
    return GAP.join(fitted).rstrip()


def _fit(column: Column, cell: str, *, cut: bool) -> str:
    size = cell_len(cell)
    if size > column.width and cut and not column.whole:
        return set_cell_size(cell, column.width - 1) + "…"
    padding = " " * (column.width - size)
    return padding + cell if column.right else cell + padding
