from pathlib import Path

import pytest

from llmtrace.config import ConfigError, load
from llmtrace.config.ml import is_hub_id


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("dslim/bert-base-NER", True),
        ("meta-llama/Llama-Prompt-Guard-2-22M", True),
        ("shipped", False),
        ("./models/own", False),
        ("../own/model", False),
        ("/opt/models/own", False),
        ("~/models", False),
        ("a/b/c", False),
        ("a/", False),
        ("owner/.hidden", False),
    ],
)
def test_an_owner_and_a_name_are_a_repository_and_a_path_is_a_folder(
    name: str, *, is_one: bool
) -> None:
    assert is_hub_id(name) is is_one


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    return path


def test_a_model_beside_the_shipped_one(tmp_path: Path) -> None:
    config = load(
        written(tmp_path, "ml: {models: [{id: dslim/bert-base-NER, labels: {MISC: none}}]}"),
        environ={},
    )
    (one,) = config.ml.models
    assert (one.id, one.revision, one.file) == ("dslim/bert-base-NER", "main", None)
    assert config.security_analysis.ml_model == "shipped"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ml: {models: [{id: ../../etc}]}", r"ml\.models\[0\]\.id"),
        ("ml: {models: [{id: a/b, file: ../x.onnx}]}", r"ml\.models\[0\]\.file"),
        ("ml: {models: [{id: a/b, file: x/../../y.onnx}]}", r"file: is outside the repository"),
        ("ml: {models: [{id: a/b, revision: --force}]}", r"ml\.models\[0\]\.revision"),
        ("ml: {models: [{id: a/b}, {id: a/b}]}", r"a/b stands twice"),
        ("ml: {models: [{id: a/b, window: 4}]}", r"ml\.models\[0\]\.window"),
        ("ml: {endpoint: 'https://user:pw@hub'}", r"ml\.endpoint: not a base URL"),
        ("ml: {download_timeout_seconds: 0}", r"ml\.download_timeout_seconds"),
        ("ml: {token: hf_x}", r"ml\.token is no configuration key"),
    ],
    ids=["id", "above", "through", "option", "twice", "window", "endpoint", "time", "token"],
)
def test_what_cannot_be_used_is_named_by_its_key(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(written(tmp_path, text), environ={})
