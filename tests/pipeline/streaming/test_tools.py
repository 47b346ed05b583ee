from llmtrace.domain.answers import Channel, ChannelKind
from llmtrace.pipeline.streaming.entries import Change, Entry
from llmtrace.pipeline.streaming.tools import ToolChannel
from llmtrace.providers.base import Frame


def entries(count: int) -> list[Entry]:
    return [Entry(Frame(event="", data=b""), (), number) for number in range(count)]


def opened(*pieces: str) -> tuple[ToolChannel, list[Entry]]:
    tool = ToolChannel(Channel(0, ChannelKind.TOOL_CALL))
    held = entries(len(pieces) + 1)
    tool.open(held[0], "run")
    for one, piece in zip(held[1:], pieces, strict=True):
        tool.append(one, ("a",), piece)
    return tool, held


def test_all_frames_of_a_call_wait_until_it_is_released() -> None:
    tool, held = opened('{"a"', ": 1}")
    assert (tool.name, tool.arguments, tool.size) == ("run", '{"a": 1}', 8)
    assert (tool.first, tool.last) == (held[0], 2)
    assert tool.decide(None)
    assert [one.pending for one in held] == [1, 1, 1]
    tool.release()
    assert [one.pending for one in held] == [0, 0, 0]
    assert not any(one.changes for one in held)


def test_other_arguments_go_into_the_first_piece() -> None:
    tool, held = opened('{"a"', ": 1}")
    repeat, late = entries(2)
    tool.repeat(repeat, ("r",), '{"a": 1}')
    assert tool.decide("{}")
    tool.release()
    tool.repeat(late, ("r",), '{"a": 1}')
    assert [one.changes for one in held] == [
        [],
        [Change(("a",), '{"a"', "{}")],
        [Change(("a",), ": 1}", "")],
    ]
    assert repeat.changes == late.changes == [Change(("r",), '{"a": 1}', "{}")]
    assert (repeat.pending, late.pending) == (0, 0)


def test_other_arguments_need_a_place() -> None:
    tool, _ = opened()
    assert not tool.decide("{}")


def test_a_name_that_comes_later_is_kept() -> None:
    tool = ToolChannel(Channel(0, ChannelKind.TOOL_CALL))
    for one, name in zip(entries(3), ("", "run", ""), strict=True):
        tool.open(one, name)
    assert tool.name == "run"
