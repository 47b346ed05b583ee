"""``python -m llmtrace`` is ``llmtrace``."""

from llmtrace.cli.main import main

main()
