import re

import pytest

from llmtrace.providers.forms import MAX_FIELDS, SLICE, model_of_form

TYPE = "multipart/form-data; boundary=XyZ-1"


def form(*parts: str, boundary: str = "XyZ-1") -> bytes:
    body = "".join(f"--{boundary}\r\n{part}\r\n" for part in parts)
    return f"{body}--{boundary}--\r\n".encode()


def text(name: str, value: str) -> str:
    return f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'


FILE = (
    'Content-Disposition: form-data; name="file"; filename="a.wav"\r\n'
    "Content-Type: audio/wav\r\n\r\nRIFF"
)
FORGED = FILE + '\r\n--\r\nContent-Disposition: form-data; name="model"\r\n\r\ncheap\r\n--'


@pytest.mark.parametrize(
    ("parts", "model"),
    [
        ([text("model", "whisper-1"), FILE], "whisper-1"),
        ([FILE, text("language", "en"), text("model", " gpt-4o-transcribe ")], "gpt-4o-transcribe"),
        ([text("model", "a"), text("model", "a")], "a"),
        ([text("model", "a"), text("model", "b")], ""),
        ([FORGED, text("model", "dear")], "dear"),
        ([FILE, text("models", "x")], ""),
        ([text("model", "x" * 201)], ""),
        (["content-disposition: FORM-DATA; name=model\r\n\r\nm"], "m"),
        ([text("model", "m").replace("\r\n", "\r\nContent-Type: text/plain\r\n", 1)], "m"),
        ([], ""),
    ],
    ids=[
        "before-the-file",
        "after-the-file",
        "said-twice",
        "two-models",
        "forged-in-a-file",
        "another-field",
        "too-long",
        "as-others-write-it",
        "with-a-type",
        "empty",
    ],
)
def test_the_model_of_a_form(parts: list[str], model: str) -> None:
    assert model_of_form(form(*parts), TYPE) == model


@pytest.mark.parametrize(
    "media_type",
    ["", "application/json", "multipart/form-data", f"multipart/form-data; boundary={'x' * 71}"],
)
def test_what_is_no_form_names_no_model(media_type: str) -> None:
    found = re.search("boundary=(.*)", media_type)
    boundary = found[1] if found else "XyZ-1"
    assert model_of_form(form(text("model", "m"), boundary=boundary), media_type) == ""


def test_a_quoted_boundary_is_plain_text() -> None:
    content = form(text("model", "m"), boundary="a.+(b")
    assert model_of_form(content, 'multipart/form-data; boundary="a.+(b"') == "m"
    assert model_of_form(form(text("model", "m"), boundary="aXXb"), TYPE) == ""


def test_fields_without_end_name_no_model() -> None:
    parts = [text(f"f{number}", "x") for number in range(MAX_FIELDS)]
    assert model_of_form(form(text("model", "m"), *parts[2:]), TYPE) == "m"
    assert model_of_form(form(text("model", "m"), *parts), TYPE) == ""


@pytest.mark.parametrize("size", range(SLICE - 20, SLICE + 3))
def test_a_field_on_a_cut_is_found(size: int) -> None:
    padding = "x" * (size - 60)
    assert model_of_form(form(text("prompt", padding), text("model", "m")), TYPE) == "m"
