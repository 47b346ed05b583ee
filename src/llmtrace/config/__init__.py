"""The configuration: one closed model per section, read from YAML, environment and command line."""

from llmtrace.config.loading import ConfigError, load
from llmtrace.config.models import Config

__all__ = ["Config", "ConfigError", "load"]
