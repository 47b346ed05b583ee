"""The values of this room."""

from llmtrace.analyzers.actions.values import Access, Deed, DeedKind, Sighting


def test_defaults() -> None:
    deed = Deed(kind=DeedKind.FILE, text="a", start=0, end=1)
    assert (deed.access, deed.exact, deed.windows) == (Access.READ, False, False)
    assert Sighting("x", 0, 1).severity is None
