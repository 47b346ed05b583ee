from llmtrace.pipeline.streaming.entries import Change, Entry
from llmtrace.providers.base import Frame


def test_two_entries_of_the_same_frame_are_two() -> None:
    frame = Frame(event="", data=b"{}")
    assert Entry(frame, (), 0) != Entry(frame, (), 0)


def test_changes_are_values() -> None:
    assert Change(("a",), "b", "c") == Change(("a",), "b", "c")
