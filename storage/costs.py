"""Sums of money and tokens by a name: added up, put in order, and never too many rows."""

from collections.abc import Iterable, Sequence
from dataclasses import fields

from llmtrace.storage.base import MAX_COSTS, OTHERS, Costs, CostsBy

_SUMS = tuple(field.name for field in fields(Costs) if field.name != "name")


def added(name: str, one: Costs, other: Costs) -> Costs:
    """Return the sums of both, under a name."""
    return Costs(name=name, **{sum_: getattr(one, sum_) + getattr(other, sum_) for sum_ in _SUMS})


def summed(rows: Iterable[Costs], by: CostsBy) -> Sequence[Costs]:
    """Add up rows of the same name, in the order that ``TraceRepository.costs`` promises.

    Rows beyond ``MAX_COSTS`` names are one, ``OTHERS``, at the end; the dearest should come first.
    """
    found: dict[str, Costs] = {}
    others = Costs(name=OTHERS)
    for row in rows:
        if row.name in found or len(found) < MAX_COSTS:
            found[row.name] = added(row.name, found.get(row.name, Costs(name="")), row)
        else:
            others = added(OTHERS, others, row)
    kept = list(found.values())
    if by == "day":
        kept.sort(key=lambda row: row.name)
    else:
        kept.sort(key=lambda row: (-row.cost_nano_usd - row.plan_nano_usd, -row.calls, row.name))
    return [*kept, others] if others.calls else kept
