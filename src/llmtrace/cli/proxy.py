"""``llmtrace proxy``: run the gateway until SIGTERM."""

import sys
from pathlib import Path

import click

from llmtrace.cli.checking import require_usable
from llmtrace.cli.common import config_option, read_config


@click.command(
    epilog="""\b
Examples:
    llmtrace proxy                              on 127.0.0.1:8642, a worker per core
    llmtrace proxy --config llmtrace.yaml --log-format json
    kill -HUP PID                               read configuration, packs and prices anew
"""
)
@config_option
@click.option("--workers", type=click.IntRange(0, 256), help="Worker processes; 0: one per core.")
@click.option("--listen", help="Address of the forward proxy, host:port.")
@click.option("--reverse-listen", help="Address of base-URL mode, host:port.")
@click.option("--api-listen", help="Address of GET /health, host:port.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="The least severe event that is logged.",
)
@click.option(
    "--log-format", type=click.Choice(["text", "json"]), help="One line per event on stderr."
)
def proxy(
    config: Path | None,
    workers: int | None,
    listen: str | None,
    reverse_listen: str | None,
    api_listen: str | None,
    log_level: str | None,
    log_format: str | None,
) -> None:
    """Run the gateway until SIGTERM or Ctrl-C; calls under way are finished first.

    A line of JSON on standard output says when it is ready, and at which addresses.
    """
    settings = read_config(
        config,
        {
            "workers": workers,
            "listen": listen,
            "reverse.listen": reverse_listen,
            "api.listen": api_listen,
            "logging.level": log_level,
            "logging.format": log_format,
        },
    )
    require_usable(settings, config)
    from llmtrace.app.gateway import run_gateway

    sys.exit(run_gateway(settings, config_path=config))
