from llmtrace.pipeline.streaming import ChannelJudge, Ruling, ToolRuling
from llmtrace.testing.judges import PatternJudge


def test_a_ruling_asks_for_nothing_unless_it_says_so() -> None:
    ruling = Ruling(start=0, end=1)
    assert (ruling.replacement, ruling.block, ruling.tag) == (None, "", None)


def test_a_tool_call_passes_unless_it_is_said_otherwise() -> None:
    assert ToolRuling() == ToolRuling(arguments=None, refused="")


def test_the_judge_of_the_test_kit_is_one() -> None:
    judge: ChannelJudge = PatternJudge()
    assert judge
