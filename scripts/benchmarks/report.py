"""Writes what was measured into docs/benchmarks.md, one part for each benchmark."""

import re
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from machine import describe

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
HEADING = """# Benchmarks

Written by `scripts/bench`, never by hand. Figures hold for the machine and the commit that each
part names; the ratios are what to compare. *Foreign CPU* is the share of one core that other
processes used during each sample.
"""


@dataclass(frozen=True)
class Goal:
    """A target, what was measured, and whether that meets it."""

    name: str
    measured: str
    met: bool


@dataclass
class Section:
    """A part of a report."""

    title: str
    note: str
    text: str = ""
    goals: list[Goal] = field(default_factory=list)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def render(title: str, sections: Sequence[Section], minutes: float) -> str:
    """Return the part of the page for one benchmark."""
    command = shlex.join(["scripts/bench", Path(sys.argv[0]).stem, *sys.argv[1:]])
    facts = {**describe(), "Command": f"`{command}`, {minutes:.1f} minutes"}
    text = f"## {title}\n\n" + "".join(f"- {name}: {value}\n" for name, value in facts.items())
    goals = [goal for section in sections for goal in section.goals]
    if goals:
        rows = [[g.name, g.measured, "met" if g.met else "**not met**"] for g in goals]
        text += "\n" + table(["target", "measured", ""], rows)
    for section in sections:
        text += f"\n### {section.title}\n\n{section.note}\n{section.text}"
    return text


def publish(title: str, sections: Sequence[Section], began: float, *, keep: bool) -> None:
    """Print a benchmark's part of the page, and put it there if it is to be kept.

    ``began`` is the monotonic clock in seconds when measuring began.
    """
    text = render(title, sections, (time.monotonic() - began) / 60)
    print(f"\n{text}")
    if keep:
        write(title, text)
        print(f"written to {PAGE}")


def write(title: str, part: str) -> None:
    """Put a part into the page, in the place of the one of the same title."""
    page = PAGE.read_text() if PAGE.exists() else HEADING
    parts = re.split(r"(?m)^(?=## )", page)
    kept = [p.rstrip() for p in parts[1:] if not p.startswith(f"## {title}\n")]
    ordered = sorted([*kept, part.rstrip()])
    PAGE.write_text("\n\n".join([HEADING.rstrip(), *ordered]) + "\n")
