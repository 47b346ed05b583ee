"""What agents do: tool calls read as commands, addresses and files.

``read_actions`` tells what a tool call does, ``sends`` whether it would carry out what is in it,
``ActionAnalyzer`` what is wrong with it, and ``ToolWatch`` which tools are not what they were.
``catalogue`` lists the rules.
"""

from llmtrace.analyzers.actions.analyzer import ActionAnalyzer
from llmtrace.analyzers.actions.reading import read_actions
from llmtrace.analyzers.actions.rules import catalogue
from llmtrace.analyzers.actions.sending import sends
from llmtrace.analyzers.actions.values import ToolUse
from llmtrace.analyzers.actions.watch import ToolWatch

__all__ = ["ActionAnalyzer", "ToolUse", "ToolWatch", "catalogue", "read_actions", "sends"]
