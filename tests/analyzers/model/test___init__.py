import subprocess
import sys

import pytest

from llmtrace.analyzers import model


def test_all_that_is_promised_is_there() -> None:
    assert all(getattr(model, name) is not None for name in model.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'other'"):
        model.other  # noqa: B018  it is asked for


def test_who_only_looks_at_files_opens_no_network() -> None:
    code = (
        "import sys, llmtrace.analyzers.model as m; m.read_folder(m.SHIPPED);"
        "sys.exit(any(n in sys.modules for n in ('onnxruntime', 'numpy', 'huggingface_hub')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)  # noqa: S603  ours
