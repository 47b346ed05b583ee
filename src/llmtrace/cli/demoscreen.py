"""What ``llmtrace demo`` shows: plain lines, in colour on a screen, none wider than it."""

import re
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rich.console import Console

from llmtrace.cli.common import dollars, visible
from llmtrace.domain.findings import Verdict
from llmtrace.domain.traces import ActionType, Trace
from llmtrace.testing.incidents import Changed
from llmtrace.testing.scenario import Step, StepResult

_WORDS: Final = re.compile(r"(?P<space>\s*)(?P<word>\S+)")
INDENT: Final = "  "
LABEL: Final = 14
ORDER: Final = tuple(Verdict)
DONE: Final[Mapping[Verdict, str]] = {
    Verdict.REDACT: "hid values",
    Verdict.QUARANTINE: "set a text aside",
    Verdict.BLOCK: "refused a tool call",
}
WIDEST: Final = 96
ASK: Final = """\
curl https://api.openai.com/v1/chat/completions \\
  -H 'authorization: Bearer any' -H 'content-type: application/json' \\
  -d '{"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}'"""


class Screen:
    """Writes to one console; an answer's text piece by piece, as it arrives."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._width = min(console.width, WIDEST)
        self._column = 0

    def hello(self, folder: Path) -> None:
        """Say what is about to happen, and where."""
        self._paragraph(
            "LLMTrace demo: a gateway, its CA and a scripted provider, all on this machine. "
            "No key is needed and nothing leaves it."
        )
        self._line(f"Files are in {folder}, made anew for each demo.", style="dim")

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Show that something takes a moment; only on a screen."""
        if not self._console.is_terminal:
            yield
            return
        with self._console.status(f"{what} …"):
            yield

    def started(self, proxy_url: str, domains: int) -> None:
        """Say that the gateway answers."""
        self._line(f"HTTPS_PROXY={proxy_url}  (CA made for {domains} provider domains)", "dim")

    def call(self, number: int, step: Step) -> None:
        """A call is about to be sent."""
        self._line("")
        self._console.print(f"{number} {step.title}", style="bold", end="")
        host = f"  {step.host}"
        room = self._width - len(step.title) - 2 - len(host)
        self._console.print(host if room >= 0 else "", style="dim", markup=False)

    def text(self, piece: str) -> None:
        """A piece of the answer has arrived: show it now, wrapped between words."""
        for match in _WORDS.finditer(piece):
            self._word(visible(match["word"]), bool(match["space"]))

    def seen(self, result: StepResult, trace: Trace | None) -> None:
        """The call is over and recorded: show what the gateway saw."""
        if self._column:
            self._end_text()
        if not self._recorded(result, trace) or trace is None:
            return
        for call in _tool_calls(trace):
            self._line(f"{INDENT}asks for {call}", "yellow")
        model, numbers = visible(trace.model_answered or trace.model), _numbers(trace)
        whole = f"{model} · {numbers}"
        for row in [whole] if len(whole) + len(INDENT) <= self._width else [model, numbers]:
            self._line(f"{INDENT}{row}", "green")
        self._line(f"{INDENT}trace {trace.trace_id}", "dim")

    def policy(self) -> None:
        """Say that what comes now is what the policy is for."""
        self._line("")
        self._paragraph(
            "No rule touched these: they went on as they came. The next three are what mode: "
            "enforce with policy.preset: balanced is for."
        )

    def incident(self, result: StepResult, trace: Trace | None, change: Changed | None) -> None:
        """The call is over and recorded: show who was given what, and which rule decided."""
        if not self._recorded(result, trace) or trace is None:
            return
        for name, rows in _told(result, trace, change).items():
            for row in rows:
                self._fact(name, row)
                name = ""
        for row in _decisions(trace):
            self._fact("found", row, "yellow")
        self._line(f"{INDENT}trace {trace.trace_id}", "dim")

    def _recorded(self, result: StepResult, trace: Trace | None) -> bool:
        if result.error:
            self._line(f"{INDENT}{visible(result.error)}", "bold red")
        if trace is None:
            self._line(f"{INDENT}the gateway has no record of it", "bold red")
        return trace is not None

    def _fact(self, name: str, text: str, style: str = "") -> None:
        head = f"{INDENT}{name:<{LABEL}}"
        rows = textwrap.wrap(visible(text), max(self._width - len(head), LABEL))
        for row in rows:
            self._console.print(head, style="dim", end="")
            self._line(row, style)
            head = " " * len(head)

    def summary(self, traces: Sequence[Trace], commands: Mapping[str, str], *, keep: bool) -> None:
        """Say what it came to, and how to look further."""
        self._line("")
        self._paragraph(_sum(traces), style="bold")
        self._paragraph(_done(traces), style="bold")
        if keep:
            self._keep(commands)
        else:
            self._line("")
            self._line("Look further; this is what the gateway recorded, and why it acted:", "bold")
            for name in ("list", "show", "findings", "explain"):
                self._command(commands.get(name, ""))
            self._line("Put your own agent behind it:", "bold")
            self._command(commands["run"])

    def _keep(self, commands: Mapping[str, str]) -> None:
        self._line("")
        self._line("Running until Ctrl-C. In another terminal, send calls of your own:", "bold")
        self._command(commands["env"])
        self._command(ASK)
        self._line("Look at them:", "bold")
        for name in ("tail", "show", "findings", "explain"):
            self._command(commands.get(name, ""))

    def _word(self, word: str, spaced: bool) -> None:
        space = " " if spaced and self._column else ""
        if self._column and self._column + len(space) + len(word) > self._width:
            self._end_text()
            space = ""
        if not self._column:
            self._write(INDENT)
        self._write(space + word)

    def _write(self, text: str) -> None:
        self._console.print(text, end="", markup=False)
        self._column += len(text)

    def _end_text(self) -> None:
        self._console.print()
        self._column = 0

    def _line(self, text: str, style: str = "") -> None:
        self._console.print(text, style=style or None, markup=False)

    def _paragraph(self, text: str, style: str = "") -> None:
        for row in textwrap.wrap(text, self._width):
            self._line(row, style)

    def _command(self, command: str) -> None:
        home, _, rest = command.partition(" ")
        if len(command) + len(INDENT) > self._width and home.startswith("LLMTRACE_HOME="):
            command = f"{home} \\\n{INDENT}{rest}"
        if command:
            self._line(textwrap.indent(command, INDENT), "cyan")


def _numbers(trace: Trace) -> str:
    usage = trace.usage
    cached = f" ({usage.cache_read_tokens:,} cached)" if usage.cache_read_tokens else ""
    cost = dollars(trace.cost_nano_usd) if trace.cost_nano_usd is not None else "no price known"
    first = f", first token {trace.ttft_ms:.0f} ms" if trace.ttft_ms is not None else ""
    took = f"{trace.duration_ms:.0f} ms{first}" if trace.duration_ms is not None else ""
    return " · ".join(
        (
            f"{usage.input_tokens:,} tokens in{cached}, {usage.output_tokens:,} out",
            cost,
            took,
        )
    )


def _sum(traces: Sequence[Trace]) -> str:
    given = sum(trace.usage.input_tokens for trace in traces)
    answered = sum(trace.usage.output_tokens for trace in traces)
    cost = sum(trace.cost_nano_usd or 0 for trace in traces)
    unpriced = sum(trace.cost_nano_usd is None for trace in traces)
    calls = sum(len(_tool_calls(trace)) for trace in traces)
    more = f" (and {unpriced} without a known price)" if unpriced else ""
    return (
        f"{len(traces)} calls in {len({trace.dialect for trace in traces})} wire formats: "
        f"{given:,} tokens in, {answered:,} out, {dollars(cost)}{more}; "
        f"{calls} tool {'call' if calls == 1 else 'calls'} asked for."
    )


def _tool_calls(trace: Trace) -> Sequence[str]:
    """Return what a model asked for; what a tool call does stands in further actions."""
    return [
        visible(f"{action.name} {action.arguments}")
        for action in trace.actions
        if action.action_type is ActionType.TOOL_CALL
    ]


def _told(result: StepResult, trace: Trace, change: Changed | None) -> Mapping[str, Sequence[str]]:
    given = [result.text] if result.text else []
    given += [f"{call.name} {call.arguments}" for call in result.tool_calls]
    return {
        "agent sent": change.sent if change else (),
        "provider got": change.received if change else (),
        "model asked": _tool_calls(trace),
        "agent got": given,
    }


def _decisions(trace: Trace) -> Sequence[str]:
    """Return what was found and what became of it, worst first, each once."""
    ordered = sorted(trace.findings, key=lambda found: -ORDER.index(found.verdict))
    rows = (
        f"{found.kind}, {found.severity}: {found.verdict}, by rule {found.rule}"
        for found in ordered
    )
    return tuple(dict.fromkeys(rows))


def _done(traces: Sequence[Trace]) -> str:
    """Say what the policy did, as far as it did something."""
    counts = Counter(trace.verdict for trace in traces)
    done = [f"{words} in {counts[verdict]}" for verdict, words in DONE.items() if counts[verdict]]
    return f"The policy {', '.join(done)}." if done else ""
