"""Takes samples: one load against one target, with what the machine did meanwhile."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from machine import ALL_CORES, LOAD_CORE, Meter
from targets import HERE, Target

LONGEST_LOAD = 180.0


@dataclass
class Sample:
    """One load. Times in milliseconds, ``cpu`` of the proxy's own processes for each call."""

    calls: int
    per_second: float
    latencies: list[float]
    errors: int
    foreign: float
    cpu: float
    cpu_beside: float
    raw: dict[str, Any] = field(repr=False, default_factory=dict)

    @property
    def all_calls(self) -> int:
        """Calls that were made, those before the first that was measured too."""
        return max(1, self.calls + int(self.raw["warm"]))

    def quantile(self, share: float) -> float:
        """Return a quantile of the latencies."""
        return quantile(self.latencies, share)


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that so many are not above; NaN if there is none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def sample(target: Target, *, others: Sequence[int], pinned: bool = True, **plan: object) -> Sample:
    """Run one load."""
    cores = LOAD_CORE if pinned else ALL_CORES
    asked = json.dumps({**target.plan, **plan})
    groups = {"proxy": target.proxy, "beside": target.beside}
    with Meter(groups, others) as meter:
        done = subprocess.run(
            [sys.executable, str(HERE / "load.py")],
            input=asked,
            capture_output=True,
            text=True,
            timeout=LONGEST_LOAD,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"the load against {target.name} failed:\n{done.stderr[-2000:]}")
    raw = json.loads(done.stdout)
    measured = len(raw["latencies"])
    all_calls = max(1, measured + raw["warm"])
    return Sample(
        calls=measured,
        per_second=measured / raw["seconds"] if raw["seconds"] else 0.0,
        latencies=raw["latencies"],
        errors=raw["errors"],
        foreign=meter.foreign,
        cpu=meter.spent["proxy"] * 1000 / all_calls,
        cpu_beside=meter.spent["beside"] * 1000 / all_calls,
        raw=raw,
    )


def alternate[T](
    targets: Sequence[Target], take: Callable[[Target], T], rounds: int
) -> dict[str, list[T]]:
    """Take samples of all targets in turn, in the reverse order every other round."""
    taken: dict[str, list[T]] = {target.name: [] for target in targets}
    for number in range(rounds):
        for target in targets if number % 2 == 0 else reversed(targets):
            taken[target.name].append(take(target))
    return taken


def median(samples: Iterable[Sample], value: Callable[[Sample], float]) -> float:
    """Return the median of a value over samples."""
    return statistics.median(map(value, samples))


def ratio(ours: Sequence[Sample], theirs: Sequence[Sample]) -> float:
    """Return the median of the rounds' ratios of calls per second: noise of minutes cancels."""
    pairs = zip(ours, theirs, strict=True)
    return statistics.median(o.per_second / max(t.per_second, 1e-9) for o, t in pairs)
