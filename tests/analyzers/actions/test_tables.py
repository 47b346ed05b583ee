"""The tables can be read."""

import pytest

from llmtrace.analyzers.actions.tables import table


@pytest.mark.parametrize("name", ["commands", "hosts", "paths", "rules", "sending", "tools"])
def test_table(name: str) -> None:
    assert table(f"{name}.yaml")
