"""The gateway against stock mitmdump and no proxy at all, all in one run.

``--quick`` measures little and writes nothing; ``--only`` names parts, separated by commas.
"""

import argparse
import secrets
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import calls
import endurance
import limited
import report
from calls import Effort, Field
from report import Section
from targets import UNLOOKED, direct, ours, provider, stock

WHOLE = Effort(rounds=3, seconds=2.0, connections=(1, 16, 64), calls=10_000, kills=20)
QUICK = Effort(rounds=1, seconds=0.8, connections=(16,), calls=1_000, kills=4)
PARTS = {
    "calls": calls.throughput,
    "handshakes": calls.handshakes,
    "streams": calls.streams,
    "memory": endurance.memory,
    "bodies": calls.bodies,
    "scaling": calls.scaling,
    "budgets": limited.budgets,
}
TITLE = "Gateway"


def measure(effort: Effort, parts: list[str], seed: int) -> list[Section]:
    """Run the parts and return what they found."""
    sections = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="llmtrace-bench-")))
        at = stack.enter_context(provider(folder))
        field = Field(
            direct=direct(at),
            stock=stack.enter_context(stock(at, folder)),
            one=stack.enter_context(ours(at, folder / "one", 1)),
            bare=stack.enter_context(ours(at, folder / "bare", 1, UNLOOKED)),
            two=stack.enter_context(ours(at, folder / "two", 2)),
            others=at.pids,
            effort=effort,
        )
        for name in parts:
            print(f"{name} …", flush=True)
            part = endurance.kills(field, seed) if name == "kills" else PARTS[name](field)
            for goal in part.goals:
                print(f"  {goal.name}: {goal.measured}{'' if goal.met else ' — not met'}")
            sections.append(part)
        ready = (
            f"{field.one.ready_seconds:.1f} s with 1 worker, {field.two.ready_seconds:.1f} s with 2"
        )
        goal = report.Goal("start-up ≤ 3 s with 2 workers", ready, field.two.ready_seconds <= 3)
        sections.append(Section("Start-up", f"Ready after {ready}.", "", [goal]))
    return sections


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(prog="scripts/bench gateway", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a minute and a half; writes nothing")
    parser.add_argument("--only", default="", help=f"of {', '.join([*PARTS, 'kills'])}")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10_000))
    arguments = parser.parse_args()
    parts = [p for p in arguments.only.split(",") if p] or [*PARTS, "kills"]
    if unknown := set(parts) - {*PARTS, "kills"}:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    began = time.monotonic()
    sections = measure(QUICK if arguments.quick else WHOLE, parts, arguments.seed)
    report.publish(TITLE, sections, began, keep=not arguments.quick and not arguments.only)


if __name__ == "__main__":
    main()
