"""What ``llmtrace models eval`` measured of the shipped model (docs/models/evaluation.json)."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmtrace.analyzers.model import SHIPPED, read_manifest

MEASURED = Path(__file__).parents[2] / "docs" / "models" / "evaluation.json"
COMMAND = """\
    .venv/bin/python scripts/train/prepare.py DATA DATA/prepared --names
    (cd DATA && llmtrace models eval injection/dev_ood.jsonl injection/dev_indomain.jsonl \\
        prepared/ner_dev_ewt.jsonl prepared/ner_dev_presidio.jsonl \\
        --role tool_result --evasions 100 --json) > docs/models/evaluation.json
"""


class Stale(Exception):
    """The figures are of another model than the one that is shipped; says what to do."""


def measured() -> Mapping[str, Any]:
    """Return what was measured.

    Raises:
        Stale: It is of another model than the one that is shipped.
    """
    said: Mapping[str, Any] = json.loads(MEASURED.read_text())
    seal = read_manifest(SHIPPED).seal
    found = said.get("models", {}).get("model", {}).get("seal")
    if found != seal:
        raise Stale(
            f"docs/models/evaluation.json has the figures of model {found}, shipped is {seal}; "
            f"measure again:\n{COMMAND}"
        )
    return said
