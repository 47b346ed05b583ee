"""``llmtrace env``: the block of variables, for a shell, a container or a build service."""

import os
import secrets
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import click

from llmtrace.cli.common import config_option, print_json, read_config
from llmtrace.config.section import is_url
from llmtrace.environment.block import environment_block
from llmtrace.environment.gateway import proxy_url
from llmtrace.environment.installation import installation, user
from llmtrace.environment.program import program
from llmtrace.environment.render import SHELLS, USAGE, render
from llmtrace.environment.trust import Trust

CONTAINER_TRUST: Final = PurePosixPath("/etc/llmtrace")
HOST_GATEWAY: Final = "host.docker.internal"
_CONTAINERS: Final = ("docker", "docker-env-file")


@click.command()
@config_option
@click.option("--shell", type=click.Choice([*SHELLS, "json"]), help="Default: that of $SHELL.")
@click.option("--url", help="The gateway's address, if not 'listen': http://host:port.")
@click.option("--run", "run_id", default="", help="Attribute the calls to a run of this name.")
@click.option("--key", envvar="LLMTRACE_KEY", help="An LLMTrace key; better as LLMTRACE_KEY.")
@click.option("--no-java", is_flag=True, help="Leave JAVA_TOOL_OPTIONS alone (Java announces it).")
def env(
    config: Path | None,
    shell: str | None,
    url: str | None,
    run_id: str,
    key: str | None,
    *,
    no_java: bool,
) -> None:
    """Print the variables that put programs behind the gateway.

    \b
        eval "$(llmtrace env)"
        llmtrace env --shell fish | source
        llmtrace env --shell github-actions >> "$GITHUB_ENV"
    """
    kind = shell or _users_shell()
    place = installation(read_config(config))
    address = url or proxy_url(place.config.listen)
    if not is_url(address) or urlsplit(address).scheme != "http":
        raise click.BadParameter(f"{address!r} is not http://host:port", param_hint="--url")
    existing = {} if kind in _CONTAINERS else dict(os.environ)
    try:
        authority, made = place.open_ca()
        trust = place.trust(authority, existing, java=not no_java and kind not in _CONTAINERS)
        for line in (*place.advice(authority, made), *trust.notes):
            click.echo(f"llmtrace: {line}", err=True)
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    if kind in _CONTAINERS:
        address, trust = _for_container(address), _in_container(trust)
    block = environment_block(
        proxy_url=address,
        trust=trust,
        existing=existing,
        run_id=run_id or (user() if key else ""),
        token=key or secrets.token_urlsafe(12),
    )
    if place.config.auth.enabled and not key:
        click.echo(
            "llmtrace: auth.enabled asks for a key: set LLMTRACE_KEY to one that "
            f"'{program()} keys create' made, and repeat this",
            err=True,
        )
    if kind == "json":
        print_json(block)
        return
    click.echo(render(block, kind), nl=False)
    if kind == "docker":
        click.echo(f"--add-host {HOST_GATEWAY}:host-gateway \\")
        click.echo(f"-v '{place.home.trust}':{CONTAINER_TRUST}:ro")
    if kind in _CONTAINERS:
        click.echo(
            f"llmtrace: mount {place.home.trust} at {CONTAINER_TRUST}, and let the gateway listen "
            "where containers reach it (listen: 172.17.0.1:8642, say)",
            err=True,
        )


def _users_shell() -> str:
    name = PurePosixPath(os.environ.get("SHELL", "")).name
    if name in USAGE:
        return name
    return "powershell" if os.name == "nt" else "sh"


def _for_container(address: str) -> str:
    """Return the address as a container reaches it, if it is this machine's own."""
    parts = urlsplit(address)
    if parts.hostname not in ("127.0.0.1", "::1", "localhost"):
        return address
    return urlunsplit(parts._replace(netloc=f"{HOST_GATEWAY}:{parts.port or 80}"))


def _in_container(trust: Trust) -> Trust:
    """Return the files where a container has them mounted."""

    def inside(path: Path) -> Path:
        return Path(CONTAINER_TRUST / path.name)

    added = {name: inside(path) for name, path in trust.added.items()}
    return replace(trust, ca=inside(trust.ca), bundle=inside(trust.bundle), added=added)
