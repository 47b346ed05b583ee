from llmtrace.domain.answers import Answer, Channel, ChannelKind


def test_channels_are_told_apart_by_choice_kind_and_index() -> None:
    text = Channel(0, ChannelKind.TEXT)
    assert text == Channel(0, ChannelKind.TEXT, 0)
    assert len({text, Channel(1, ChannelKind.TEXT), Channel(0, ChannelKind.REASONING),
                Channel(0, ChannelKind.TEXT, 1)}) == 4  # fmt: skip


def test_an_answer_of_which_nothing_was_seen_is_not_complete() -> None:
    answer = Answer()
    assert not answer.complete
    assert answer.usage is None
    assert not answer.texts
