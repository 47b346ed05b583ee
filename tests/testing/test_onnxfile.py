from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from llmtrace.testing.onnxfile import INT32, classifier

TABLE = [[1.0, 0.0], [0.0, 2.0], [-1.0, 3.0]]


def run(content: bytes, ids: list[int], kind: type = np.int64) -> Any:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    row: Any = np.array([ids], dtype=kind)
    made: Any = session.run(None, {"input_ids": row, "attention_mask": np.ones_like(row)})
    return made[0][0].tolist()


def test_a_text_has_the_largest_of_each_label() -> None:
    assert run(classifier(TABLE), [0, 1, 0]) == [1.0, 2.0]


def test_each_token_has_its_own() -> None:
    assert run(classifier(TABLE, over="tokens"), [2, 0]) == [[-1.0, 3.0], [1.0, 0.0]]


def test_ids_can_be_of_32_bits() -> None:
    assert run(classifier(TABLE, kind=INT32), [1], np.int32) == [0.0, 2.0]


def test_a_version_that_nobody_has_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"(?i)opset"):
        run(classifier(TABLE, opset=99), [0])
