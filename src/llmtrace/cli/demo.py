"""``llmtrace demo``: a gateway, a CA and a scripted provider on this machine, and nine calls."""

import shlex
import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import click
import orjson
from rich.console import Console

from llmtrace.app.gateway import StartedGateway, start_gateway
from llmtrace.app.settings import Settings
from llmtrace.app.stores import open_storage
from llmtrace.cli.common import print_json
from llmtrace.cli.demoscreen import Screen
from llmtrace.config import Config
from llmtrace.domain.findings import Verdict
from llmtrace.domain.traces import Outcome, Trace
from llmtrace.environment.gateway import health
from llmtrace.environment.home import Home, home
from llmtrace.environment.installation import Installation
from llmtrace.environment.program import program
from llmtrace.storage.base import Storage, StorageError, TraceNotFound
from llmtrace.storage.export import trace_row
from llmtrace.storage.registry import close
from llmtrace.testing.incidents import INCIDENTS, changed
from llmtrace.testing.provider import ScriptedProvider
from llmtrace.testing.scenario import HOSTS, STEPS, OnText, Step, StepResult, run_scenario

MARK: Final = "made-by-llmtrace-demo"
RECORDED_SECONDS: Final = 10.0
LOG_TAIL: Final = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One call: what the client saw of it, and what the gateway recorded."""

    result: StepResult
    trace: Trace | None

    @property
    def well(self) -> bool:
        """Whether it went as it should: not a word of it lost, and judged as it is to be."""
        if self.result.error or self.trace is None:
            return False
        verdict = self.result.step.verdict
        outcome = Outcome.STOPPED if verdict is Verdict.BLOCK else Outcome.OK
        return self.trace.verdict is verdict and self.trace.outcome is outcome


class Caller:
    """Makes the calls, as a client would, and shows them."""

    def __init__(self, proxy_url: str, ca_pem: str, storage: Storage, screen: Screen) -> None:
        self._proxy_url = proxy_url
        self._ca_pem = ca_pem
        self._storage = storage
        self._screen = screen

    def scenario(self) -> Iterator[Seen]:
        """Make the calls that no policy touches; their answers are shown as they arrive."""
        for number, step in enumerate(STEPS, 1):
            self._screen.call(number, step)
            seen = self._made(step, lambda _, text: self._screen.text(text))
            self._screen.seen(seen.result, seen.trace)
            yield seen

    def incidents(self, provider: ScriptedProvider) -> Iterator[Seen]:
        """Make the calls that the policy has something to say about."""
        self._screen.policy()
        for number, step in enumerate(INCIDENTS, len(STEPS) + 1):
            self._screen.call(number, step)
            seen = self._made(step, None)
            received = [call.body for call in provider.model_calls][len(STEPS) :][-1:]
            change = changed(step, received[0]) if received else None
            self._screen.incident(seen.result, seen.trace, change)
            yield seen

    def _made(self, step: Step, on_text: OnText | None) -> Seen:
        (result,) = run_scenario(self._proxy_url, self._ca_pem, on_text, steps=[step])
        trace = _recorded(self._storage, result.trace_id) if result.trace_id else None
        return Seen(result=result, trace=trace)


@click.command(
    epilog="""\b
Examples:
    llmtrace demo
    llmtrace demo --keep            send it calls of your own from another terminal
    llmtrace demo --json | jq '.calls[] | {model, cost_usd}'
"""
)
@click.option("--keep", is_flag=True, help="Leave gateway and provider running until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def demo(*, keep: bool, as_json: bool) -> None:
    """Show the gateway at work. It needs no key and no network, and takes seconds.

    A scripted provider on this machine stands in for the real ones. Six calls go to it
    through HTTPS_PROXY, in six wire formats; you see what the gateway sees of them. Three more
    carry a token, a poisoned page and a command that must not run; you see what becomes of
    them. What is recorded stays in $LLMTRACE_HOME/demo until the next demo.
    """
    console = Console(highlight=False, stderr=as_json, soft_wrap=True)
    screen = Screen(console)
    place = Home(home() / "demo")
    try:
        make_anew(place)
        screen.hello(place.path)
        with ScriptedProvider() as provider:
            config = _configuration(provider, place)
            seen = _play(config, provider, place, screen, keep=keep, json=as_json)
    except (OSError, ValueError, RuntimeError) as error:
        raise click.ClickException(str(error)) from error
    if not all(one.well for one in seen):
        raise click.ClickException(f"not all calls went well; {place.path} has the logs")


def make_anew(place: Home) -> None:
    """Make the demo's folder, empty.

    Raises:
        OSError: It cannot be made; the message says what to do.
        RuntimeError: A demo runs in it, or it is somebody else's folder.
    """
    if _runs_in(place):
        raise RuntimeError(f"a demo runs already in {place.path}; end it with Ctrl-C there")
    if place.path.is_dir() and any(place.path.iterdir()) and not (place.path / MARK).exists():
        raise RuntimeError(
            f"{place.path} was not made by a demo; move it away, or set LLMTRACE_HOME"
        )
    try:
        if place.path.exists():
            shutil.rmtree(place.path)
        place.path.mkdir(mode=0o700, parents=True)
        (place.path / MARK).touch()
    except OSError as error:
        raise OSError(
            f"{place.path} cannot be made anew: {error.strerror}; set LLMTRACE_HOME to a folder "
            "of yours"
        ) from error


def _runs_in(place: Home) -> bool:
    try:
        state = orjson.loads((place.path / "gateway.json").read_bytes())
        said = health(str(state["api"]))
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return said is not None and said.get("pid") == state.get("pid")


def _configuration(provider: ScriptedProvider, place: Home) -> Config:
    """Return what sends the providers' hosts to the scripted one; free ports, one worker."""
    free = {"listen": "127.0.0.1:0"}
    return Config.model_validate(
        {
            **free,
            "mode": "enforce",
            "policy": {"preset": "balanced"},
            "reverse": free,
            "api": free,
            "workers": 1,
            "upstreams": dict.fromkeys(HOSTS, provider.url),
            "upstream_ca": provider.write_ca(place.path),
            "spool": {"min_free_bytes": 0},
            "shutdown": {"timeout_seconds": 5},
        }
    )


def _play(
    config: Config,
    provider: ScriptedProvider,
    place: Home,
    screen: Screen,
    *,
    keep: bool,
    json: bool,
) -> Sequence[Seen]:
    gateway = _started(config, place, screen)
    try:
        authority, _ = Installation(config=config, home=place).open_ca()
        screen.started(gateway.proxy_url, len(authority.permitted))
        storage = _storage(config, place)
        try:
            caller = Caller(gateway.proxy_url, authority.export_pem(), storage, screen)
            seen = [*caller.scenario(), *caller.incidents(provider)]
        finally:
            close(storage)
        commands = _commands(place, gateway, seen)
        screen.summary([one.trace for one in seen if one.trace], commands, keep=keep)
        if json:
            print_json(_document(place, gateway, seen, commands))
        if keep:
            with suppress(KeyboardInterrupt):
                threading.Event().wait()
    finally:
        gateway.stop()
    return seen


def _started(config: Config, place: Home, screen: Screen) -> StartedGateway:
    with screen.waiting("starting the gateway"):
        try:
            return start_gateway(config, at=place)
        except OSError as error:
            raise RuntimeError(f"{error}{_last_words(place)}") from error


def _storage(config: Config, place: Home) -> Storage:
    """Open the store for reading; the recorder may still be making it."""
    settings = Settings(config=config, home=place)
    until = time.monotonic() + RECORDED_SECONDS
    while time.monotonic() < until:
        with suppress(StorageError):
            return open_storage(settings, read_only=True)
        time.sleep(0.05)
    return open_storage(settings, read_only=True)


def _recorded(storage: Storage, trace_id: str) -> Trace | None:
    """Wait until a call's end is in the store."""
    until = time.monotonic() + RECORDED_SECONDS
    while time.monotonic() < until:
        with suppress(TraceNotFound):
            trace = storage.traces.get(trace_id)
            if trace.outcome is not Outcome.PENDING:
                return trace
        time.sleep(0.05)
    return None


def _commands(place: Home, gateway: StartedGateway, seen: Sequence[Seen]) -> Mapping[str, str]:
    """Return what to type next."""
    here = f"LLMTRACE_HOME={shlex.quote(str(place.path))} {program()}"
    traces = [one.trace for one in seen if one.trace]
    first = next((trace for trace in traces if trace.actions), next(iter(traces), None))
    found = next((trace for trace in reversed(traces) if trace.findings), None)
    commands = {"list": f"{here} traces list"}
    if first:
        commands["show"] = f"{here} traces show {first.trace_id}"
    if found:
        commands["findings"] = f"{here} findings list"
        commands["explain"] = f"{here} findings show {found.trace_id}"
    commands["tail"] = f"{here} traces tail"
    commands["env"] = f'eval "$({here} env --url {gateway.proxy_url})"'
    commands["run"] = f"{program()} run -- claude"
    return commands


def _document(
    place: Home, gateway: StartedGateway, seen: Sequence[Seen], commands: Mapping[str, str]
) -> Mapping[str, object]:
    return {
        "home": str(place.path),
        "proxy_url": gateway.proxy_url,
        "calls": [
            {"title": one.result.step.title, "error": one.result.error, "text": one.result.text}
            | (trace_row(one.trace) if one.trace else {})
            for one in seen
        ],
        "commands": commands,
    }


def _last_words(place: Home) -> str:
    """Return the last line of the gateway's log, for the message about its failure."""
    try:
        lines = (place.path / "gateway.log").read_bytes()[-LOG_TAIL:].decode(errors="replace")
    except OSError:
        return ""
    last = lines.strip().splitlines()[-1:]
    return f"\n{last[0]}" if last else ""
