from collections.abc import Iterator

from llmtrace.environment.checks import Check, Status, fail, ok, run_checks, warn, worst


def test_a_check_that_breaks_fails_alone() -> None:
    def fine() -> Iterator[Check]:
        yield ok("a", "one", "well")

    def broken() -> Iterator[Check]:
        yield warn("b", "two", "hm", "do this")
        raise ValueError("cannot be read")

    found = list(run_checks([("a", fine), ("b", broken), ("a", fine)]))
    assert [check.status for check in found] == [Status.OK, Status.WARN, Status.FAIL, Status.OK]
    assert found[2].detail == "cannot be read"


def test_the_worst_decides() -> None:
    checks = [ok("a", "a", ""), fail("a", "b", "", "x"), warn("a", "c", "", "x")]
    assert worst(checks) is Status.FAIL
    assert worst(checks[:1]) is Status.OK
    assert worst([]) is Status.OK
