import dataclasses

from llmtrace.addons.limits import Limits


def test_every_limit_is_above_zero() -> None:
    assert all(value > 0 for value in dataclasses.asdict(Limits()).values())
