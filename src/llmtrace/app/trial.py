"""Tries out the models of a configuration in a process of its own, before workers are to use them.

A reload must not end with less protection than there was, and the supervisor holds no model.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from llmtrace.app.detection import BadDetection
from llmtrace.app.models import ML_MODEL, Missing, load_models, wanted
from llmtrace.app.settings import Settings
from llmtrace.supervisor import own_module

SECONDS: Final = 50.0
"""How long all models together may take to be loaded."""


def try_models(settings: Settings, *, seconds: float = SECONDS) -> Sequence[Missing]:
    """Load the configured models elsewhere, and return those that cannot be.

    Waits: not for an event loop.

    Raises:
        BadDetection: One cannot be loaded, and ``on_error`` is ``block``; or it takes too long.
    """
    if not wanted(settings.config):
        return ()
    try:
        done = subprocess.run(  # noqa: S603  # our own module
            own_module("llmtrace.app.trial"),
            input=settings.dump().encode() + b"\n",
            stdout=subprocess.PIPE,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BadDetection(
            f"{ML_MODEL}: its models are not loaded within {seconds:g} s; use smaller ones"
        ) from error
    try:
        said = json.loads(done.stdout)
    except ValueError as error:
        raise BadDetection(f"{ML_MODEL}: loading ended the process ({done.returncode})") from error
    if "error" in said:
        raise BadDetection(said["error"])
    return [Missing(**one) for one in said["missing"]]


def main() -> None:
    """Read settings on standard input, load their models, and say how that went."""
    settings = Settings.parse(sys.stdin.readline())
    try:
        models = load_models(settings.config, at=settings.home.path)
        said: dict[str, object] = {"missing": [asdict(one) for one in models.missing]}
    except BadDetection as error:
        said = {"error": str(error)}
    sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    main()
