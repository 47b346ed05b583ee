"""What of a configuration can be told to be wrong only with the files and hosts that it names."""

import ssl
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import click

from llmtrace.app.detection import BadDetection, build_analyzer, build_policy
from llmtrace.app.models import Tried, check_models, try_each
from llmtrace.app.prices import check_prices
from llmtrace.app.resigning import check_resigning
from llmtrace.app.verdicts import check_cache
from llmtrace.cli.common import BAD_CONFIG
from llmtrace.config import Config
from llmtrace.config.loading import located
from llmtrace.providers.hosts import HostTable


def _hosts(config: Config) -> None:
    HostTable(config.intercept.hosts, telemetry=tuple(config.intercept.exclude))


def _roots(config: Config) -> None:
    if config.upstream_ca:
        ssl.create_default_context(cafile=config.upstream_ca)


def _policy(config: Config) -> None:
    build_policy(config)


def _detection(config: Config) -> None:
    build_analyzer(config, cached=False)


_CHECKS: Final[Mapping[str, Callable[[Config], None]]] = {
    "intercept": _hosts,
    "cost_estimation.pricing_file": check_prices,
    "upstream_ca": _roots,
    "policy": _policy,
    "security_analysis": _detection,
    "ml": check_models,
    "resigning": check_resigning,
    "storage.cache_url": check_cache,
}
"""Key → what tries it out. Raises: OSError, ValueError."""


def faults(config: Config) -> Sequence[str]:
    """Return what is wrong, one line for each key."""
    found = []
    for key, check in _CHECKS.items():
        try:
            check(config)
        except BadDetection as error:
            found.append(str(error))  # names its key
        except ssl.SSLError:
            found.append(f"{key}: {config.upstream_ca} holds no PEM certificates")
        except OSError as error:
            found.append(f"{key}: {error.filename or config.upstream_ca}: {error.strerror}")
        except ValueError as error:
            found.append(f"{key}: {error}")
    return found


def require_usable(config: Config, path: Path | None = None) -> None:
    """End the program with 2 where something is wrong, and say what; ``path`` is its file."""
    found = faults(config)
    for line in found:
        click.echo(located(line, path), err=True)
    if found:
        sys.exit(BAD_CONFIG)


def require_models(config: Config) -> Sequence[Tried]:
    """Load the configured models and say how that went; warn of those that cannot be used.

    Ends the program with 2 where one cannot, and ``on_error`` is ``block``.
    """
    tried = list(try_each(config))
    faulty = [one for one in tried if one.state == "unusable"]
    blocks = config.on_error == "block"
    goes_on = "" if blocks else "the gateway goes on without this model: "
    for one in faulty:
        click.echo(f"{'' if blocks else 'Warning: '}{one.key}: {goes_on}{one.reason}", err=True)
    if faulty and blocks:
        sys.exit(BAD_CONFIG)
    return tried
