"""What ``llmtrace models eval`` measured of the shipped model (docs/models/evaluation.json)."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmtrace.analyzers.model import SHIPPED, BadModel, read_manifest

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
        Stale: It is of another model than the one that is shipped, or that one is damaged.
    """
    said: Mapping[str, Any] = json.loads(MEASURED.read_text())
    of = said.get("models", {}).get("model", {})
    try:
        seal = read_manifest(SHIPPED).seal
    except BadModel as error:
        raise Stale(str(error)) from error
    how = hashlib.sha256((SHIPPED / "model.json").read_bytes()).hexdigest()
    for what, found, shipped in (
        ("model", of.get("seal"), seal),
        ("a model.json with SHA-256", of.get("model_json"), how),
    ):
        if found != shipped:
            raise Stale(
                f"docs/models/evaluation.json has the figures of {what} {found}, shipped is "
                f"{shipped}; measure again:\n{COMMAND}"
            )
    return said
