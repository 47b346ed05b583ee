from llmtrace.pipeline.deferred import Deferred


def test_only_what_was_begun_is_charged_and_only_once() -> None:
    deferred = Deferred()
    deferred.begin("resp_1")
    assert [deferred.charge("resp_1"), deferred.charge("resp_1")] == [True, False]
    assert not deferred.charge("resp_2")


def test_memory_is_bounded() -> None:
    deferred = Deferred(size=2)
    for number in range(3):
        deferred.begin(f"resp_{number}")
    assert [deferred.charge(f"resp_{n}") for n in range(3)] == [False, True, True]
