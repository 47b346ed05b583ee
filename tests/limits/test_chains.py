from dataclasses import replace

from llmtrace.domain.traces import ActionType, AgentAction, Trace
from llmtrace.limits.callfacts import CallFacts
from llmtrace.limits.chains import Chains, Recent
from llmtrace.limits.loops import NO_LOOP, Loop
from llmtrace.testing.records import a_trace


def answer(number: int, tool: str = "Bash", arguments: str = "ls") -> Trace:
    action = AgentAction(action_type=ActionType.TOOL_CALL, name=tool, arguments=arguments)
    return replace(a_trace(), response_id=f"resp_{number}", actions=(action,))


def asked(number: int, results: str = "same") -> CallFacts:
    return CallFacts(
        id=f"{number}",
        tenant="t",
        agent="a",
        request="r",
        previous=f"resp_{number - 1}" if number else "",
        results=results if number else "",
    )


def follow(chains: Chains, *tools: str, results: str = "same") -> list[Loop]:
    return [chains.follow(asked(n, results), answer(n, tool)) for n, tool in enumerate(tools)]


def test_the_same_steps_are_counted_over_the_answers() -> None:
    loops = follow(Chains(), *["Bash"] * 5)
    assert [loop.times for loop in loops] == [1, 1, 2, 3, 4]
    assert loops[-1].tool == "Bash"


def test_steps_by_turns_are_counted_as_rounds() -> None:
    loop = follow(Chains(), *["Edit", "Bash"] * 4, "Edit")[-1]
    assert (loop.times, loop.period) == (4, 2)


def test_other_results_are_progress() -> None:
    chains = Chains()
    loops = [chains.follow(asked(n, f"{n}"), answer(n)) for n in range(6)]
    assert {loop.times for loop in loops} == {1}


def test_a_chain_that_nobody_began_says_nothing() -> None:
    assert Chains().follow(asked(5), answer(5)) == NO_LOOP


def test_what_was_put_longest_ago_is_forgotten_first() -> None:
    recent = Recent[str, int](2)
    for number, key in enumerate("abac"):
        recent.put(key, number)
    assert dict(recent) == {"a": 2, "c": 3}
