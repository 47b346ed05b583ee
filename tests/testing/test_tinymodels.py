import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from llmtrace.analyzers.model import HubSpec
from llmtrace.testing.tinymodels import (
    Files,
    keep,
    text_classifier,
    token_classifier,
    tokenizer,
    write,
)


@pytest.mark.parametrize("files", [text_classifier(), token_classifier()], ids=["texts", "tokens"])
def test_a_repository_has_what_a_hub_has(files: Files, tmp_path: Path) -> None:
    folder = write(files, tmp_path)
    said = json.loads((folder / "config.json").read_bytes())
    known = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert known.get_vocab_size() == said["vocab_size"]
    assert any(name.endswith(".onnx") for name in files)
    assert sum(map(len, files.values())) < 10_000


def test_a_tokenizer_knows_its_words_and_stands_around_a_text() -> None:
    made = Tokenizer.from_str(tokenizer({"one": "", "two": ""}).decode())
    assert made.encode("one three two").ids == [1, 3, 0, 4, 2]


def test_what_is_kept_is_as_if_it_had_been_fetched(tmp_path: Path) -> None:
    cache = keep(text_classifier(), tmp_path, "a/b")
    spec = HubSpec(id="a/b")
    cache.check(cache.find(spec), spec)
