"""Answers while they pass: a judge is asked, and frames go on, are changed, or stop."""

from llmtrace.pipeline.streaming.answers import AnswerGate, WholeAnswer, gate_whole
from llmtrace.pipeline.streaming.frames import FrameGate
from llmtrace.pipeline.streaming.judging import ChannelJudge, Ruling, ToolRuling
from llmtrace.pipeline.streaming.stops import Blocked, GateBounds, Style

__all__ = [
    "AnswerGate",
    "Blocked",
    "ChannelJudge",
    "FrameGate",
    "GateBounds",
    "Ruling",
    "Style",
    "ToolRuling",
    "WholeAnswer",
    "gate_whole",
]
