"""What the machine does while we measure: processor time and memory of processes, pinning."""

import os
import platform
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
CORES = sorted(os.sched_getaffinity(0))
PROXY_CORE = {CORES[0]}
LOAD_CORE = {CORES[-1]}
ALL_CORES = set(CORES)


def cpu_seconds(pid: int) -> float:
    """Return user and system time of a process, 0 if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_mb(pid: int) -> float:
    """Return the resident memory of a process in MB (10^6 bytes), 0 if it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / 1e6
    except OSError:
        return 0.0


def children(pid: int) -> dict[str, int]:
    """Return the children of a gateway's supervisor by name: ``worker-0``, ``recorder``."""
    found: dict[str, int] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            words = Path(f"/proc/{child}/cmdline").read_text().split("\0")
            if "llmtrace.app.worker" in words:
                found[next(w for w in words if w.startswith("worker-"))] = int(child)
            elif "llmtrace.app.recorder" in words:
                found["recorder"] = int(child)
    return found


def pin(pids: Iterable[int], cores: set[int]) -> None:
    """Let processes, with all their threads, run on these cores alone."""
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), cores)


def busy_seconds() -> float:
    """Return the time that all cores together have worked, for whomever."""
    user, nice, system, _idle, _wait, irq, soft, *_ = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    )
    return (user + nice + system + irq + soft) / TICKS


@dataclass
class Meter:
    """Processor time between two moments: of named processes, and of all that is not ours."""

    groups: Mapping[str, Sequence[int]]
    others: Sequence[int] = ()
    """Further processes of ours."""
    spent: dict[str, float] = field(default_factory=dict)
    foreign: float = 0.0
    """Share of one core that others used."""

    def __enter__(self) -> "Meter":
        self._before = {name: self._sum(pids) for name, pids in self.groups.items()}
        self._rest = self._sum(self.others)
        self._own = sum(os.times()[:4])
        self._busy = busy_seconds()
        self._began = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        wall = time.monotonic() - self._began
        busy = busy_seconds() - self._busy
        ours = sum(os.times()[:4]) - self._own + self._sum(self.others) - self._rest
        self.spent = {n: self._sum(pids) - self._before[n] for n, pids in self.groups.items()}
        self.foreign = max(0.0, busy - ours - sum(self.spent.values())) / wall

    @staticmethod
    def _sum(pids: Iterable[int]) -> float:
        return sum(map(cpu_seconds, pids))


def describe() -> dict[str, str]:
    """Say what machine and what versions these are."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory = os.sysconf("SC_PHYS_PAGES") * PAGE / 2**30
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return {
        "Machine": f"{len(CORES)} cores of {model}, {memory:.0f} GiB, {platform.system()} "
        f"{platform.release()}",
        "Versions": f"Python {platform.python_version()}, mitmproxy {version('mitmproxy')}, "
        f"LLMTrace {version('llmtrace-gateway')} at {commit.stdout.strip() or 'no commit'}",
        "Date": time.strftime("%Y-%m-%d", time.gmtime()),
    }
