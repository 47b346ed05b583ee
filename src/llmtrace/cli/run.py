"""``llmtrace run -- CMD``: put one program behind the gateway, and say what was seen of it."""

import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click
from rich.console import Console

from llmtrace.cli.common import config_option, counted, dollars, read_config, visible
from llmtrace.config import Config
from llmtrace.domain.findings import Verdict
from llmtrace.environment.block import environment_block, no_proxy, upstream_proxy
from llmtrace.environment.child import CannotStart, run_child
from llmtrace.environment.clients import ask, behind, examine
from llmtrace.environment.gateway import (
    Asked,
    GatewayHandle,
    RunKey,
    RunServices,
    degraded,
    health,
    no_key,
    proxy_url,
    reachable,
)
from llmtrace.environment.home import Home, home
from llmtrace.environment.installation import Installation, installation, new_run_id
from llmtrace.environment.program import program
from llmtrace.environment.render import render
from llmtrace.environment.report import MOST_READ, RunReport, collect, reasons, settled
from llmtrace.environment.sharing import Sharing
from llmtrace.environment.tlsfailures import read_failures
from llmtrace.storage.base import Storage
from llmtrace.storage.registry import close

ACTED: Final[Mapping[Verdict, str]] = {
    Verdict.BLOCK: "{} blocked",
    Verdict.QUARANTINE: "text set aside in {}",
    Verdict.REDACT: "values masked in {}",
}
NOT_ACTED: Final = "recorded, nothing was changed"


@click.command(context_settings={"ignore_unknown_options": True})
@config_option
@click.option("--print", "only_print", is_flag=True, help="Print the variables; run nothing.")
@click.option("--no-java", is_flag=True, help="Leave JAVA_TOOL_OPTIONS alone (Java announces it).")
@click.option("--quiet", "-q", is_flag=True, help="No summary unless no call was seen.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def run(
    context: click.Context,
    config: Path | None,
    *,
    only_print: bool,
    no_java: bool,
    quiet: bool,
    command: tuple[str, ...],
) -> None:
    """Run COMMAND behind the gateway and say what was seen of it.

    A gateway is started if none runs, and ended when no run uses it any more. The variables are
    set for this command alone; nothing is installed. Exits as COMMAND does.

        llmtrace run -- claude
    """
    if not command and not only_print:
        raise click.UsageError(f"Name a command: {program()} run -- claude")
    if command and command[0].startswith("-"):
        raise click.NoSuchOption(command[0])
    place = installation(read_config(config))
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        services = services_of(context)
        asked = Asked(config=place.config, path=config)
        session = Session(place, console, services, asked, java=not no_java)
        if only_print:
            session.print()
            return
        code = session.run(command, quiet=quiet)
    except CannotStart as error:
        click.echo(f"llmtrace: {error}", err=True)
        sys.exit(error.code)
    except (OSError, ValueError, RuntimeError) as error:
        raise click.ClickException(str(error)) from error
    sys.exit(code)


def services_of(context: click.Context) -> RunServices:
    """Return what the caller put into the context, or the real ones."""
    if isinstance(context.obj, RunServices):
        return context.obj
    from llmtrace.app.accounts import run_key
    from llmtrace.app.gateway import start_gateway
    from llmtrace.app.settings import Settings
    from llmtrace.app.stores import open_storage

    def opened(config: Config) -> Storage:
        return open_storage(Settings(config=config, home=Home(home())), read_only=True)

    def key(config: Config, name: str) -> RunKey:
        return run_key(Settings(config=config, home=Home(home())), name)

    return RunServices(start_gateway=start_gateway, open_storage=opened, run_key=key)


class Session:
    """One run: its name, its files, its gateway."""

    def __init__(
        self,
        place: Installation,
        console: Console,
        services: RunServices,
        asked: Asked,
        *,
        java: bool,
    ) -> None:
        self._place = place
        self._console = console
        self._services = services
        self._asked = asked
        self._running: Mapping[str, object] | None = None
        self._id = new_run_id()
        authority, made = place.open_ca()
        self._fingerprint = authority.fingerprint
        self._trust = place.trust(authority, os.environ, java=java)
        for line in (*place.advice(authority, made), *self._trust.notes):
            self._say(line)

    def _block(self, url: str, token: str) -> dict[str, str]:
        return environment_block(
            proxy_url=url,
            trust=self._trust,
            existing=os.environ,
            run_id=self._id,
            token=token,
        )

    def _key(self, running: Mapping[str, object] | None) -> RunKey:
        """Return a key of this run's own, if the gateway asks for one."""
        config = self._place.config
        asks = config.auth.enabled if running is None else running.get("auth", config.auth.enabled)
        return (self._services.run_key if asks else no_key)(config, self._id)

    def print(self) -> None:
        """Print the variables. A key among them is good for a day."""
        config = self._place.config
        running = health(config.api.listen)
        if running is not None:
            self._check(running)
        key = self._key(running)
        click.echo(render(self._block(proxy_url(config.listen), key.token), "sh"), nl=False)

    def run(self, command: Sequence[str], *, quiet: bool) -> int:
        """Run the command and say what was seen; return its exit code."""
        since, services = datetime.now(UTC), self._services
        sharing = Sharing(self._place.home)
        handle = sharing.begin(self._gateway)
        stopped = False
        try:
            url = handle.proxy_url if handle else proxy_url(self._place.config.listen)
            if self._console.is_terminal and not quiet:
                self._say(f"{url}  (run {self._id})")
            for reason in handle.degraded() if handle else degraded(self._running):
                self._say(f"less is looked for than is configured: {reason}")
            code = self._child(command, url, self._key(self._running))
        finally:
            stopped = sharing.end(handle)
        if self._place.config.storage.profile == "memory":
            self._say("storage.profile is 'memory': what was seen is known to the gateway alone")
            return code
        try:
            report = self._report(services, since, running=not stopped)
        except (OSError, ValueError, RuntimeError, LookupError) as error:
            self._say(f"what was seen cannot be read: {error}")
            return code
        except KeyboardInterrupt:
            return code
        if self._console.is_terminal:
            self._console.print()  # the command may have left a line open
        if report.totals.calls:
            if not quiet:
                self._summary(report)
        else:
            if code:
                self._say(f"the command ended with {code}")
            self._nothing(command, report, since)
        return code

    def _child(self, command: Sequence[str], url: str, key: RunKey) -> int:
        try:
            return run_child(command, {**os.environ, **self._block(url, key.token)})
        finally:
            try:
                key.revoke()
            except (OSError, RuntimeError, LookupError) as error:
                self._say(f"the key of this run could not be revoked; it ends in a day: {error}")

    def _gateway(self) -> GatewayHandle | None:
        """Start a gateway, or return None where one runs already."""
        config = self._place.config
        self._running = running = health(config.api.listen)
        upstream = upstream_proxy(os.environ, listen=str(reachable(config.listen)))
        if running is None:
            return self._services.start_gateway(config, upstream_proxy=upstream)
        self._check(running)
        if upstream:
            self._say(
                "HTTPS_PROXY is set here; the running gateway goes out by its own upstream_proxy"
            )
        return None

    def _check(self, running: Mapping[str, object]) -> None:
        """Raise RuntimeError if the gateway that runs is not the one that was asked for."""
        where, theirs = self._place.config.api.listen, running.get("ca_fingerprint")
        if theirs and theirs != self._fingerprint:
            raise RuntimeError(
                f"the gateway at {where} has another CA than {self._place.home.ca}: "
                "start it anew, or set LLMTRACE_HOME to its folder"
            )
        if other := self._asked.is_other(running):
            raise RuntimeError(f"the gateway at {where} {other}; {self._asked.way_out(running)}")

    def _report(self, services: RunServices, since: datetime, *, running: bool) -> RunReport:
        storage = services.open_storage(self._place.config)
        traces = storage.traces
        try:
            if not running:
                return collect(traces, self._id, since=since)
            return settled(lambda: collect(traces, self._id, since=since), sleep=time.sleep)
        finally:
            close(storage)

    def _summary(self, report: RunReport) -> None:
        sums = report.totals
        cached = f" ({sums.cache_read_tokens:,} cached)" if sums.cache_read_tokens else ""
        cost = dollars(sums.cost_nano_usd)
        if sums.unpriced_calls:
            cost += f" and {sums.unpriced_calls} without a price"
        self._say(
            f"{counted(sums.calls, 'call')}  {_counts(report.models)}  "
            f"{sums.input_tokens:,} tokens in{cached}, {sums.output_tokens:,} out  {cost}"
        )
        if report.failed:
            self._say(
                f"{counted(report.failed, 'call')} did not end well: {_counts(report.failures)}"
            )
        if sums.findings:
            self._findings(report)
        self._say(f"look further: {program()} traces list --run {self._id}")

    def _findings(self, report: RunReport) -> None:
        sums = report.totals
        severities = ", ".join(f"{count} {severity}" for severity, count in report.severities)
        acted = ", ".join(ACTED[verdict].format(counted(n, "call")) for verdict, n in report.acted)
        last = f" (in the last {MOST_READ} calls)" if sums.calls > MOST_READ else ""
        found = counted(sums.findings, "finding") + (f": {severities}" if severities else "")
        self._say(f"{found}; {acted or NOT_ACTED}{last}")
        if report.worst:
            self._say(f"explained: {program()} findings show {report.worst}")

    def _nothing(self, command: Sequence[str], report: RunReport, since: datetime) -> None:
        self._say("NO CALL WAS SEEN: what this command sent to a provider, if anything,")
        self._say("did not pass the gateway and was not recorded.")
        if report.strays:
            self._say(
                f"{counted(report.strays, 'call')} came meanwhile without the name of a run "
                f"(Java sends none): {program()} traces list"
            )
        clients = [examine(key, ask) for key in behind(command[0], shutil.which)]
        known = "; ".join(f"{c.client.title} {c.version}".strip() for c in clients)
        found = reasons(
            clients,
            failures=read_failures(self._place.home.tls_failures, since=since),
            exceptions=no_proxy(os.environ),
            governs=self._place.governs,
        )
        self._say(f"What may be the reason{f' ({visible(known)})' if known else ''}:")
        for reason in found:
            self._say(f"  - {visible(reason.why)}")
            self._say(f"    {visible(reason.fix)}")

    def _say(self, line: str) -> None:
        self._console.print("llmtrace", style="bold", end="  ")
        self._console.print(line, markup=False)


def _counts(found: Sequence[tuple[str, int]]) -> str:
    return ", ".join(f"{visible(name)} x{count}" for name, count in found)
