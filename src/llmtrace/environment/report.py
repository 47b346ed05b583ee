"""What the gateway saw of one run: sums for the last lines, and reasons where it saw nothing."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from llmtrace.domain.findings import Severity, Verdict
from llmtrace.domain.traces import Outcome, Trace
from llmtrace.environment.clients import Found, Reason
from llmtrace.environment.tlsfailures import TlsFailure
from llmtrace.providers.hostnames import BadHost, canonical_host
from llmtrace.storage.base import TraceQuery, TraceRepository, TraceTotals

MOST_READ: Final = 500
TOP_NAMES: Final = 3
ACTS: Final = (Verdict.BLOCK, Verdict.QUARANTINE, Verdict.REDACT)
_STERNER: Final = tuple(Verdict)
_WELL: Final = (Outcome.OK, Outcome.PENDING)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """Sums over the calls of one run.

    Attributes:
        models: The models asked most, and how often, of the last ``MOST_READ`` calls; the host
            where a call names none.
        failed: How many of these did not end well.
        failures: Why, the most frequent reasons first.
        severities: How many findings of each severity they had, worst first.
        acted: How many of them the policy acted on, by verdict, sternest first.
        worst: The call to explain first: the newest of those judged most sternly; else empty.
        strays: Calls that came meanwhile without a run's name (Java sends none).
    """

    totals: TraceTotals
    models: tuple[tuple[str, int], ...] = ()
    failed: int = 0
    failures: tuple[tuple[str, int], ...] = ()
    severities: tuple[tuple[Severity, int], ...] = ()
    acted: tuple[tuple[Verdict, int], ...] = ()
    worst: str = ""
    pending: int = 0
    strays: int = 0


def collect(traces: TraceRepository, run: str, *, since: datetime) -> RunReport:
    """Read the sums of a run that began at ``since`` (aware)."""
    query = TraceQuery(run=run, limit=MOST_READ)
    totals = traces.totals(query)
    if not totals.calls:
        strays = traces.totals(TraceQuery(run="", since=since))
        return RunReport(totals=totals, strays=strays.calls)
    found = traces.query(query)
    models = Counter(trace.model_answered or trace.model or trace.host or "?" for trace in found)
    failed = [trace for trace in found if trace.outcome not in _WELL]
    failures = Counter(trace.error_code or trace.outcome.value for trace in failed)
    severities = Counter(one.severity for trace in found for one in trace.findings)
    verdicts = Counter(trace.verdict for trace in found)
    telling = [trace for trace in found if trace.findings]
    return RunReport(
        totals=totals,
        models=tuple(models.most_common(TOP_NAMES)),
        failed=len(failed),
        failures=tuple(failures.most_common(TOP_NAMES)),
        severities=tuple((one, severities[one]) for one in Severity if severities[one]),
        acted=tuple((one, verdicts[one]) for one in ACTS if verdicts[one]),
        worst=max(telling, key=_sternness).trace_id if telling else "",
        pending=sum(trace.outcome is Outcome.PENDING for trace in found),
    )


def _sternness(trace: Trace) -> tuple[int, str]:
    return _STERNER.index(trace.verdict), trace.trace_id  # ids are made in order of time


def settled(
    read: Callable[[], RunReport],
    *,
    sleep: Callable[[float], None],
    step_seconds: float = 0.25,
    most_steps: int = 20,
) -> RunReport:
    """Read until two readings are equal and nothing is pending, at most ``most_steps`` times.

    A gateway that goes on running hands its records to the store a moment after the call.
    """
    report = read()
    for _ in range(most_steps):
        sleep(step_seconds)
        again = read()
        if again == report and not again.pending:
            break
        report = again
    return report


def reasons(
    clients: Sequence[Found],
    *,
    failures: Sequence[TlsFailure] = (),
    exceptions: str = "",
    governs: Callable[[str], bool] = lambda _: False,
) -> tuple[Reason, ...]:
    """Say why no call may have been seen, the surest first.

    Args:
        clients: What the command is and runs on.
        failures: TLS handshakes that broke off during the run.
        exceptions: The child's ``NO_PROXY``.
        governs: Whether a host is a provider's.
    """
    found = [_distrust(failure) for failure in failures[:3]]
    found += [_excepted(entry) for entry in bypassed(exceptions, governs)]
    found += [found_.rule for found_ in clients if found_.rule]
    found += [reason for found_ in clients for reason in found_.client.silent]
    return tuple(dict.fromkeys(found)) or (UNKNOWN,)


def bypassed(exceptions: str, governs: Callable[[str], bool]) -> tuple[str, ...]:
    """Return the entries of a ``NO_PROXY`` that keep a provider's host from the gateway."""
    entries = [entry.strip() for entry in exceptions.split(",")]
    return tuple(entry for entry in entries if entry and (entry == "*" or _hits(entry, governs)))


def _hits(entry: str, governs: Callable[[str], bool]) -> bool:
    suffix = entry.lstrip("*").lstrip(".").partition(":")[0]
    try:
        name = canonical_host(suffix)
    except BadHost:
        return False
    hosts = (name, *(host for host in WELL_KNOWN if host.endswith(f".{name}")))
    return any(map(governs, hosts))


WELL_KNOWN: Final = (
    "api.openai.com",
    "api.anthropic.com",
    "generativelanguage.googleapis.com",
    "aiplatform.googleapis.com",
    "bedrock-runtime.us-east-1.amazonaws.com",
    "x.openai.azure.com",
)
"""Hosts by which a suffix such as ``.googleapis.com`` is known to cover a provider."""

UNKNOWN: Final = Reason(
    why="nothing is known of how this program reaches a provider",
    fix="see what it is told with 'llmtrace run --print', or use base-URL mode",
)


def _distrust(failure: TlsFailure) -> Reason:
    return Reason(
        why=f"a client broke off TLS for {failure.host} {failure.count} times: {failure.error}",
        fix="it does not read the trust variables; put the CA into the system: llmtrace ca install",
    )


def _excepted(entry: str) -> Reason:
    return Reason(
        why=f"NO_PROXY has {entry!r}, so these hosts are called directly",
        fix="take it out of NO_PROXY for this command",
    )
