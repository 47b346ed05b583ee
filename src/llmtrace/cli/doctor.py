"""``llmtrace doctor``: what works, what does not, and the fix, in plain words."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click
from rich.console import Console

from llmtrace.certs.stores import run_quietly
from llmtrace.cli.ca import this_system
from llmtrace.cli.common import config_option, json_option, print_json, read_config, visible
from llmtrace.cli.run import services_of
from llmtrace.environment.block import environment_block
from llmtrace.environment.canary import COMMANDS, call, check_canary
from llmtrace.environment.checks import Check, Examine, Status, fail, ok, run_checks, warn, worst
from llmtrace.environment.clients import Found, ask, behind, examine
from llmtrace.environment.gateway import (
    Asked,
    GatewayHandle,
    RunKey,
    RunServices,
    health,
    proxy_url,
)
from llmtrace.environment.installation import Installation, installation
from llmtrace.environment.machine import (
    check_configuration,
    check_ports,
    check_storage,
    check_variables,
    check_versions,
)
from llmtrace.environment.sharing import Sharing
from llmtrace.environment.trustchecks import check_ca, check_failures, check_trust
from llmtrace.storage.registry import close

LOOKED_FOR: Final = (
    *("claude", "codex", "gemini", "copilot", "opencode", "qwen", "aider"),
    *("node", "bun", "deno", "python", "java", "curl"),
)
DOCTOR: Final = "doctor"
"""The run that its own calls belong to."""
_STYLE: Final = {Status.OK: "green", Status.WARN: "yellow", Status.FAIL: "red bold"}


@click.command(context_settings={"ignore_unknown_options": True})
@config_option
@json_option
@click.option("--no-canary", is_flag=True, help="Make no call through the gateway.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def doctor(
    context: click.Context,
    config: Path | None,
    *,
    as_json: bool,
    no_canary: bool,
    command: tuple[str, ...],
) -> None:
    """Check what 'llmtrace run' needs on this machine, or for one COMMAND.

    The canary is a call through the gateway with each runtime found; the gateway answers it
    itself, and is started for it if none runs. Exits with 1 if a check failed.
    """
    place = installation(read_config(config))
    asked = Asked(config=place.config, path=config)
    if command and command[0].startswith("-"):
        raise click.NoSuchOption(command[0])
    is_here = not command or shutil.which(command[0]) is not None
    services = services_of(context)
    found = tuple(_clients(command)) if is_here else ()
    areas: list[tuple[str, Examine]] = [
        ("versions", check_versions),
        ("gateway", lambda: check_ports(place)),
        ("gateway", lambda: check_configuration(asked, health(place.config.api.listen))),
        ("ca", lambda: check_ca(place, datetime.now(UTC))),
        ("trust", lambda: check_trust(place, os.environ, this_system(), run_quietly)),
        ("variables", lambda: check_variables(place, os.environ)),
        ("clients", lambda: iter([] if is_here else [_absent(command[0])])),
        ("clients", lambda: iter([_verdict(one) for one in found])),
        ("clients", lambda: check_failures(place, datetime.now(UTC))),
        ("storage", lambda: check_storage(place, lambda: _readable(place, services))),
    ]
    if not no_canary:
        areas.append(("canary", lambda: _canary(place, services, found)))
    checks: list[Check] = []
    report: Callable[[Check], None] = _no_report if as_json else _Report()
    for check in run_checks(areas):
        checks.append(check)
        report(check)
    if as_json:
        print_json([asdict(check) for check in checks])
    sys.exit(1 if worst(checks) is Status.FAIL else 0)


def _clients(command: Sequence[str]) -> Iterator[Found]:
    if command:
        keys: Sequence[str] = behind(command[0], shutil.which)
    else:
        keys = [key for key in LOOKED_FOR if shutil.which(_program(key))]
    for key in keys:
        yield examine(key, ask)


def _program(key: str) -> str:
    return "python3" if key == "python" else key


def _absent(command: str) -> Check:
    fix = "install it, or give its whole path"
    return fail("clients", command, "there is no such program on the PATH", fix)


def _verdict(found: Found) -> Check:
    name = f"{found.client.title} {found.version}".strip()
    if found.rule is None:
        tested = found.client.tested
        return ok("clients", name, f"works, verified with {tested}" if tested else "should work")
    make = fail if found.verdict == "fail" else warn
    return make("clients", name, found.rule.why, found.rule.fix)


def _readable(place: Installation, services: RunServices) -> bool:
    storage = services.open_storage(place.config)
    try:
        return storage.traces.healthy()
    finally:
        close(storage)


def _canary(place: Installation, services: RunServices, found: Sequence[Found]) -> Iterator[Check]:
    """Make the calls through the gateway that runs, or one that is started for them."""
    runtimes = {one.key: one for one in found if one.key in COMMANDS}
    if not runtimes:
        return
    running: Mapping[str, object] | None = None

    def find() -> GatewayHandle | None:
        nonlocal running
        running = health(place.config.api.listen)
        if running is not None:
            return None
        return services.start_gateway(place.config, upstream_proxy=None)

    sharing = Sharing(place.home)
    handle = sharing.begin(find)
    key: RunKey | None = None
    try:
        own = place.config.auth.enabled
        asks = running.get("auth", own) if running is not None else own
        url = handle.proxy_url if handle else proxy_url(place.config.listen)
        key = services.run_key(place.config, DOCTOR) if asks else None
        yield from check_canary(runtimes, _environ(place, url, key), call)
    finally:
        if key:
            key.revoke()
        sharing.end(handle)


def _environ(place: Installation, url: str, key: RunKey | None) -> Mapping[str, str]:
    authority, _ = place.open_ca()
    trust = place.trust(authority, os.environ, java=True)
    block = environment_block(
        proxy_url=url,
        trust=trust,
        existing=os.environ,
        run_id=DOCTOR if key else "",
        token=key.token if key else "",
    )
    return {**os.environ, **block}


def _no_report(_check: Check) -> None:
    return


class _Report:
    """Prints checks as they come, by area; without colours where that is no terminal."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        self._area = ""

    def __call__(self, check: Check) -> None:
        if check.area != self._area:
            self._area = check.area
            self._console.print(check.area, style="bold", markup=False)
        mark = f"  {check.status.value.upper():<5}"
        self._console.print(mark, style=_STYLE[check.status], end="", markup=False)
        self._console.print(f" {visible(check.name)}: {visible(check.detail)}", markup=False)
        if check.fix:
            self._console.print(f"        fix: {visible(check.fix)}", markup=False)
