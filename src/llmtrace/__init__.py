"""LLMTrace: an interception gateway for LLM traffic."""

from importlib.metadata import version
from typing import Final

__version__: Final = version("llmtrace-gateway")
