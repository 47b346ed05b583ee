"""The life of a call, without a word of mitmproxy: identify, inspect, settle, record."""

from llmtrace.pipeline.call import Call, Refusal, RequestHead
from llmtrace.pipeline.journal import Journal, JournalUnavailable
from llmtrace.pipeline.pipeline import Pipeline
from llmtrace.pipeline.requests import Bounds

__all__ = ["Bounds", "Call", "Journal", "JournalUnavailable", "Pipeline", "Refusal", "RequestHead"]
