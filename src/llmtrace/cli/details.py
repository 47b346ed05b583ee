"""What is known of one call, in words."""

from collections.abc import Mapping

from llmtrace.cli.common import dollars
from llmtrace.domain.findings import Verdict
from llmtrace.domain.traces import Coverage, Trace


def facts(trace: Trace) -> Mapping[str, str]:
    """Return label → text, in the order in which people ask; what says nothing is left out.

    The texts hold what a peer sent: escape them before they are printed.
    """
    cached = f" ({trace.usage.cache_read_tokens} cached)" if trace.usage.cache_read_tokens else ""
    first = f", first token after {trace.ttft_ms:.0f} ms" if trace.ttft_ms is not None else ""
    rate = trace.tokens_per_second if trace.stream else None  # of a whole answer it says nothing
    speed = f", {rate:.0f} tokens/s" if rate else ""
    took = f"{trace.duration_ms:.0f} ms{first}{speed}" if trace.duration_ms is not None else ""
    run = f", run {trace.run}" if trace.run else ""
    answered = trace.model_answered if trace.model_answered != trace.model else ""
    unread = ", ".join(f"{gap.size} bytes {gap.reason}" for gap in trace.coverage.gaps)
    facts = {
        "trace": trace.trace_id,
        "started": trace.started_at.astimezone().isoformat(" ", timespec="milliseconds"),
        "caller": f"{trace.agent} (tenant {trace.tenant}{run})",
        "client": f"{trace.client} {trace.client_version}".strip(),
        "call": f"{trace.method} {trace.host}{trace.path} ({trace.mode})",
        "dialect": f"{trace.provider} / {trace.dialect} {trace.operation}",
        "model": trace.model + (f" (answered: {answered})" if answered else ""),
        "ended": f"{trace.outcome} {trace.status or ''} {trace.error_code} {trace.error}".strip(),
        "verdict": trace.verdict,
        "took": took,
        "tokens": f"{trace.usage.input_tokens} in{cached}, {trace.usage.output_tokens} out "
        f"(counted by: {trace.usage_source})",
        "cost": _cost(trace),
        "plan": _plan(trace),
        "conversation": f"{trace.conversation}, turn {trace.turn}" if trace.conversation else "",
        "scanned": _scanned(trace.coverage),
        "unread": unread or "nothing",
    }
    return {name: value for name, value in facts.items() if value}


def decision(verdict: Verdict, call: Verdict) -> str:
    """Say what became of a finding: ``would redact`` where its call was only watched.

    Args:
        verdict: What the policy makes of the finding.
        call: What became of the call.
    """
    sternness = tuple(Verdict).index
    return f"{'would ' * (sternness(verdict) > sternness(call))}{verdict}"


def _cost(trace: Trace) -> str:
    """Say what it cost, and what of it has no price."""
    _, *unpriced = trace.price_version.split("+unpriced:")
    return (
        dollars(trace.cost_nano_usd)
        + (" (not charged: see plan)" if trace.plan else "")
        + (f" (without a price: {unpriced[0]})" if unpriced else "")
    )


def _plan(trace: Trace) -> str:
    """Say under which subscription it was, and how much of that is used up."""
    windows = [
        f"{window.name} {window.used:.0%} used"
        + (f" until {window.resets_at.astimezone():%Y-%m-%d %H:%M}" if window.resets_at else "")
        for window in trace.plan_windows
        if window.used is not None
    ]
    return "; ".join([trace.plan, *windows]) if trace.plan else ""


def _scanned(coverage: Coverage) -> str:
    """Say how much text the detectors looked at, and what they did not take to its end."""
    if not coverage.texts:
        return "nothing (detection is off, or there was no text)"
    if coverage.scanned_bytes == coverage.seen_bytes:
        return f"all {coverage.seen_bytes} bytes of text"
    missed = ", ".join(t.channel for t in coverage.texts if t.scanned < t.seen)
    return f"{coverage.scanned_bytes} of {coverage.seen_bytes} bytes of text (not all: {missed})"
