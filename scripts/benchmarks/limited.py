"""What budgets and rates cost: the same gateway with them and without."""

from collections.abc import Sequence

from calls import HEAD, PINNED, Field, rate_rows
from machine import PROXY_CORE, pin
from report import Goal, Section, table
from sampling import Sample, alternate, median, ratio
from targets import ours

LIMITS = {
    "cost_caps": {
        "enabled": True,
        "default_budget_caps": [
            {"window": "daily", "hard_limit_usd": 1_000_000},
            {"window": "monthly", "hard_limit_usd": 1_000_000},
        ],
    },
    "rate_limiting": {"enabled": True, "requests_per_second": 100_000, "burst_size": 100_000},
}
"""Two budgets and a rate for each call, none of which is ever reached."""
ON, OFF = "LLMTrace, budgets on", "LLMTrace"


def _cpu(samples: Sequence[Sample]) -> float:
    return median(samples, lambda sample: sample.cpu)


def budgets(at: Field) -> Section:
    """Calls per second with budgets on and off, in turns."""
    rows, ratios, cpu = [], [], []
    with ours(at.one.at, at.one.folder.with_name("limited"), 1, LIMITS) as limited:
        for mode in ("reverse", "tls"):
            off, on = at.one.targets(OFF), limited.targets(ON)
            pin([*off[mode].pids, *on[mode].pids], PROXY_CORE)
            for connections in at.effort.connections:
                take = at.taker(connections=connections)
                taken = alternate([off[mode], on[mode]], take, at.effort.rounds)
                rows += rate_rows(taken, f"{connections}, {mode}", OFF)
                if connections > 1:  # one waits for each answer: it tells of time, not of calls/s
                    ratios.append(ratio(taken[ON], taken[OFF]))
                    cpu.append(_cpu(taken[OFF]) / _cpu(taken[ON]))
    got = min(ratios)
    measured = f"{got:.0%} (processor time: {min(cpu):.0%})"
    goal = Goal("calls/s with budgets on ≥ 85 % of off", measured, got >= 0.85)
    head = [*HEAD[:7], "x off", *HEAD[8:]]
    text = "\n" + table(head, rows)
    return Section("Two budgets and a rate for each call", PINNED, text, [goal])
