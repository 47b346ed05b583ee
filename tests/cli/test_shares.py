from llmtrace.analyzers.evaluation import Share
from llmtrace.cli.shares import numbers_of, written


def test_a_share_has_four_digits_and_reads_as_per_cent() -> None:
    assert numbers_of(Share(8, 10)) == [0.8, 0.4902, 0.9433]
    assert written(numbers_of(Share(8, 10))) == "80.0% (49.0% to 94.3%)"
