from pathlib import Path

import pytest

from llmtrace.analyzers.model import SHIPPED, BadModel, HubCache, HubSpec, NotFetched
from llmtrace.analyzers.model.files import is_own, read_folder, read_hub
from llmtrace.testing.tinymodels import text_classifier, write


def test_a_folder_is_ours_or_a_hubs(tmp_path: Path) -> None:
    assert is_own(SHIPPED)
    assert is_own(tmp_path / "nothing")
    assert not is_own(write(text_classifier(), tmp_path))
    assert read_folder(SHIPPED).name == "llmtrace-small"
    assert read_folder(tmp_path, name="own").name == "own"


@pytest.mark.parametrize("name", ["tokenizer.json", "onnx/model.onnx"])
def test_a_folder_that_is_not_whole_is_refused(tmp_path: Path, name: str) -> None:
    write(text_classifier(), tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(BadModel, match=name.rpartition("/")[2]):
        read_folder(tmp_path)


def test_what_was_not_fetched_has_no_files(tmp_path: Path) -> None:
    with pytest.raises(NotFetched):
        read_hub(HubSpec(id="a/b"), HubCache(tmp_path))
