from pathlib import Path

import onnxruntime
import pytest

from llmtrace.analyzers.model import BadModel
from llmtrace.analyzers.model.network import open_session
from llmtrace.analyzers.model.networkfaults import MOST_READ, explain
from llmtrace.testing.onnxfile import classifier

GOOD = classifier([[1.0, 0.0], [0.0, 1.0]])
RUNTIME = onnxruntime.__version__


def said(path: Path, content: bytes) -> str:
    """What is said of a file of this content, behind its path."""
    path.write_bytes(content)
    with pytest.raises(BadModel) as caught:
        open_session(path)
    place, _, why = str(caught.value).partition(": ")
    assert place == str(path)
    return why


@pytest.mark.parametrize(
    "content",
    [b"", b"\x08\x07", b"not a network" * 50, GOOD[: len(GOOD) // 2], GOOD[:-1], GOOD + b"x"],
    ids=["empty", "no-graph", "text", "half", "a-byte-less", "a-byte-more"],
)
def test_a_damaged_file_is_told_with_its_size(tmp_path: Path, content: bytes) -> None:
    told = said(tmp_path / "model.onnx", content)
    assert f"it is damaged or no ONNX file ({len(content)} bytes); get the file again" in told


@pytest.mark.parametrize("opset", [99, 12345])
def test_an_opset_that_is_not_known_is_told_with_the_last_that_is(
    tmp_path: Path, opset: int
) -> None:
    told = said(tmp_path / "model.onnx", classifier([[1.0, 0.0]], opset=opset))
    known = f"it asks for opset {opset} of ai.onnx, ONNX Runtime {RUNTIME} knows up to "
    assert known in told
    most = int(told.split(known)[1].split(";")[0])
    assert 20 <= most < 99
    assert f"export it for opset {most} or less, or use a newer onnxruntime" in told


def test_a_version_of_the_format_that_is_not_known_is_told(tmp_path: Path) -> None:
    told = said(tmp_path / "model.onnx", GOOD.replace(b"\x08\x08", b"\x08\x63", 1))
    assert f"is in version 99 of the format, ONNX Runtime {RUNTIME} knows up to" in told


def test_an_operator_that_is_not_known_is_named(tmp_path: Path) -> None:
    told = said(tmp_path / "model.onnx", GOOD.replace(b"Gather", b"Gathez"))
    assert f"has an operator Gathez (opset 13), which ONNX Runtime {RUNTIME} does not know" in told


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadModel, match=r"model\.onnx: cannot be loaded .*it is not there"):
        open_session(tmp_path / "model.onnx")


@pytest.mark.parametrize(
    "text",
    [
        'External data path does not exist: "/x/model.onnx_data"',
        "External initializer: table offset: 0 size to read: 16 given file_length: 8",
    ],
    ids=["missing", "cut-short"],
)
def test_weights_beside_a_network_are_told_of(tmp_path: Path, text: str) -> None:
    told = explain(RuntimeError(text), tmp_path)
    assert told == (
        "its weights, in a file beside it, are missing or cut short; get both files again"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Opset 99 is under development",
        f"Opset {'9' * 5000} is under development for domain ai.onnx is till opset 26.",
        f"Opset 27 is under development {'x' * 600} for domain ai.onnx is till opset 26.",
        "Protobuf parsing failed" + "x" * MOST_READ,
    ],
    ids=["nothing", "half", "long-number", "far-apart", "before-what-is-read"],
)
def test_an_error_of_another_form_is_not_guessed_at(tmp_path: Path, text: str) -> None:
    told = explain(RuntimeError(text), tmp_path)
    assert told.startswith("it is damaged or made for another version; get the file")
    assert RUNTIME in told
