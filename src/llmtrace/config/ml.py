"""The section about models from a hub."""

import re
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import Field, field_validator, model_validator

from llmtrace.config.section import Section, is_url

NONE: Final = "none"
"""What a label stands for that is no finding."""
_ID: Final = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,95}/[A-Za-z0-9_][A-Za-z0-9._-]{0,95}"
_HUB_ID: Final = re.compile(_ID)

type HubId = Annotated[str, Field(pattern=rf"^{_ID}$")]


def is_hub_id(text: str) -> bool:
    """Whether a model's name is that of a repository, ``owner/name``, and not of a folder."""
    return _HUB_ID.fullmatch(text) is not None


class HubModelConfig(Section):
    """A model from a hub, and how it is to be read."""

    id: HubId
    """``owner/name``, such as ``dslim/bert-base-NER``: a sequence or token classifier with an
    ONNX file. The model that ``security_analysis.ml_model`` names is told here how it is to be
    read; any other is read beside it."""

    revision: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$")] = "main"
    """Branch, tag or commit. A branch is pinned to the commit that it was when it was fetched;
    a commit (40 digits) is pinned for everyone."""

    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._/-]{0,200}\.onnx$")] | None = None
    """The ONNX file. Default: ``model.onnx``, else ``onnx/model.onnx``, else
    ``onnx/model_quantized.onnx``."""

    labels: dict[str, str] = {}
    """Label → kind of finding (``docs/detection.md``) or ``none``, for labels that are not known
    by their names; ``*`` stands for all others."""

    threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Confidence from which its word counts. Default: that of ``operating_point`` for attacks
    (0.5, 0.7 or 0.9), 0.5 for names."""

    window: Annotated[int, Field(ge=16, le=8192)] | None = None
    """Tokens that it reads at a time. Default: as many as it was made for, at most 512."""

    @field_validator("file")
    @classmethod
    def _inside(cls, value: str | None) -> str | None:
        if value is not None and ".." in value.split("/"):
            raise ValueError("is outside the repository; name a file in it")
        return value


class MlConfig(Section):
    """Models from a hub (``ml``). The shipped model needs none of this."""

    models: Annotated[list[HubModelConfig], Field(max_length=8)] = []
    """Models that read beside ``security_analysis.ml_model``: each with ``id`` and, where that is
    needed, ``revision``, ``file``, ``labels``, ``threshold``, ``window``."""

    cache_dir: Path | None = None
    """Where fetched models lie. Default: ``models`` in the home folder."""

    endpoint: str = "https://huggingface.co"
    """The hub, or a mirror of it. A token for private and gated models comes from the variable
    ``HF_TOKEN`` alone."""

    offline: bool = False
    """Whether nothing is ever fetched: what is not in ``cache_dir`` counts as missing. Otherwise
    the gateway fetches what is missing before it is ready; a call never does."""

    download_timeout_seconds: Annotated[float, Field(gt=0, le=86_400)] = 300
    """Longest time that fetching one model may take, from the first byte to the last."""

    @field_validator("endpoint")
    @classmethod
    def _base_url(cls, value: str) -> str:
        if not is_url(value, plain=True):
            raise ValueError(
                "not a base URL such as https://huggingface.co; it has no user name, no query and "
                "no fragment"
            )
        return value.rstrip("/")

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        ids = [one.id for one in self.models]
        twice = {one for one in ids if ids.count(one) > 1}
        if twice:
            raise ValueError(f"models: {', '.join(sorted(twice))} stands twice; keep one")
        return self
