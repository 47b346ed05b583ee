"""What a configuration does, as digests: two can be compared without either being told."""

import hashlib
import json
from collections.abc import Mapping
from typing import Final

from llmtrace.config.models import Config

WHERE: Final = frozenset(
    {
        *("listen", "reverse", "api", "workers", "upstream_ca", "upstream_proxy"),
        *("shutdown", "spool", "logging", "ca"),
    }
)
"""Where and how a gateway runs: nothing of it changes what becomes of a call."""
LENGTH: Final = 16


def digests(config: Config) -> dict[str, str]:
    """Return top-level key → digest (16 hex digits), for all that changes what becomes of calls.

    Secrets count by whether they are set, so that no digest helps to guess one.
    """
    values = config.model_dump(mode="json", exclude={*WHERE})
    del values["storage"]["database_path"]
    return {key: _digest(value) for key, value in values.items()}


def differing(config: Config, said: object) -> tuple[str, ...]:
    """Return the keys in which a gateway that says these digests has another configuration.

    One that says none, or of a key none, counts as equal in it: it is of another version.
    """
    theirs = said if isinstance(said, Mapping) else {}
    return tuple(key for key, own in digests(config).items() if theirs.get(key, own) != own)


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:LENGTH]
