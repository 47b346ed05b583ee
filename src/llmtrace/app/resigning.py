"""Wires the keys that changed calls are signed with."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

from llmtrace.app.detection import BadDetection
from llmtrace.config import Config
from llmtrace.config.auth import ENV, FILE, AwsKeysConfig
from llmtrace.pipeline.counters import Counters
from llmtrace.pipeline.resigning import KeySource, Resigner
from llmtrace.providers.hosts import HostTable
from llmtrace.providers.sigv4 import AwsKeys

MAX_SECRET: Final = 16 * 1024
"""Characters of a key or token. Session tokens have up to about 2,000."""
PROVIDER: Final = "bedrock"


def resigner_of(config: Config, hosts: HostTable, counters: Counters) -> Resigner | None:
    """Return what signs calls anew, None where there are no keys to do it with.

    Raises:
        BadDetection: Keys are configured, and cannot be read.
    """
    check_resigning(config)
    sources = list(_sources(config))
    if not sources:
        return None
    return Resigner(
        sources,
        counters,
        is_bedrock=lambda host, port: hosts.provider_of(host, port) == PROVIDER,
        for_key_holders=config.resigning.for_key_holders,
    )


def check_resigning(config: Config) -> None:
    """Read the configured keys.

    Raises:
        BadDetection: Some cannot be read, or are none; names the key, and quotes nothing of it.
    """
    if config.resigning.for_key_holders and not config.resigning.aws:
        raise BadDetection("resigning.for_key_holders: there are no keys in resigning.aws")
    for source in _sources(config):
        try:
            source()
        except ValueError as error:
            raise BadDetection(str(error)) from error


def _sources(config: Config) -> Iterator[KeySource]:
    for place, one in enumerate(config.resigning.aws):
        yield partial(_keys, one, f"resigning.aws[{place}]")


def _keys(one: AwsKeysConfig, where: str) -> AwsKeys:
    token = one.session_token
    return AwsKeys(
        key_id=_secret(one.access_key_id, f"{where}.access_key_id"),
        secret=_secret(one.secret_access_key, f"{where}.secret_access_key"),
        token=_secret(token, f"{where}.session_token") if token else "",
    )


def _secret(source: str, where: str) -> str:
    """Read a secret. Raises: ValueError, which names its key and its place."""
    if source.startswith(ENV):
        name = source.removeprefix(ENV)
        text, place = os.environ.get(name), f"the variable {name!r}"
        if text is None:
            raise ValueError(f"{where}: {place} is not set; set it where the gateway is started")
    else:
        path = Path(source.removeprefix(FILE)).expanduser()
        place = str(path)
        try:
            with path.open("rb") as file:
                text = file.read(MAX_SECRET + 2).decode("ascii", "replace")
        except OSError as error:
            raise ValueError(f"{where}: {place} cannot be read: {error.strerror}") from None
    text = text.strip()
    if not text or len(text) > MAX_SECRET or not (text.isascii() and text.isprintable()):
        raise ValueError(f"{where}: {place} holds no key; expected one line of ASCII, and no more")
    if " " in text:
        raise ValueError(f"{where}: {place} holds more than a key; expected one word")
    return text
