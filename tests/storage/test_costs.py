from llmtrace.storage.base import MAX_COSTS, OTHERS, Costs
from llmtrace.storage.costs import added, summed


def test_rows_of_the_same_name_are_added_up() -> None:
    rows = [Costs(name="a", calls=1, cost_nano_usd=2), Costs(name="a", calls=3, plan_nano_usd=4)]
    assert summed(rows, "agent") == [
        Costs(name="a", calls=4, cost_nano_usd=2, plan_nano_usd=4),
    ]


def test_what_is_beyond_the_bound_is_one_row_and_not_lost() -> None:
    rows = [Costs(name=f"{n}", calls=1, cost_nano_usd=10**6 - n) for n in range(MAX_COSTS + 5)]
    found = summed(rows, "agent")
    assert len(found) == MAX_COSTS + 1
    assert (found[-1].name, found[-1].calls) == (OTHERS, 5)
    assert sum(row.cost_nano_usd for row in found) == sum(row.cost_nano_usd for row in rows)


def test_sums_stand_under_the_name_given() -> None:
    assert added("c", Costs(name="a", calls=1), Costs(name="b", calls=2)) == Costs(
        name="c", calls=3
    )
