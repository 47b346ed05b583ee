import pytest

from llmtrace.providers.base import Route
from llmtrace.providers.registry import dialect
from llmtrace.testing.forms import FORMS, PLACES

TEXT = "planted here"


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", FORMS)
def test_a_text_stands_where_it_was_planted(name: str, place: str) -> None:
    body = FORMS[name].body(streamed=True, place=place, text=TEXT)
    route = Route(provider=FORMS[name].name, dialect=name, operation="chat")
    parts = dialect(name).request(body, route).parts
    assert [part.role.value for part in parts if part.text == TEXT] == [place]


@pytest.mark.parametrize("name", FORMS)
def test_a_stream_is_asked_for_by_the_path_or_by_the_body(name: str) -> None:
    form = FORMS[name]
    asked = form.target(streamed=True) != form.target(streamed=False)
    assert asked is not (form.body(streamed=True).get("stream") is True)
