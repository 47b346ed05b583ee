"""The bounds of one tool call."""

import pytest

from llmtrace.analyzers.actions.budget import Budget, Exhausted


def test_work_ends_where_the_budget_does() -> None:
    budget = Budget(chars=3, nodes=1, grown=2, steps=1)
    budget.parse(3)
    budget.step(1)
    with pytest.raises(Exhausted):
        budget.parse(1)
    with pytest.raises(Exhausted):
        budget.step(1)
    assert (budget.visit(), budget.visit()) == (True, False)
    assert (budget.grow(2), budget.grow(1)) == (True, False)
