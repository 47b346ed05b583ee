"""Batches of OpenAI and of Anthropic, which have ended as soon as somebody asks for them.

Sources: the OpenAI API reference, "Batch"; Anthropic's, "Message Batches".
"""

from typing import Final

from llmtrace.testing.script import Script
from llmtrace.testing.scripts import anthropic, openai_chat
from llmtrace.testing.wire import Chunk, JsonObject, Reply, Request, compact, json_reply

OPENAI: Final = openai_chat.DIALECT
ANTHROPIC: Final = anthropic.DIALECT
MODEL: Final = "gpt-5"
CLAUDE: Final = "claude-sonnet-4-5"
INPUT_TOKENS: Final = 1_000
OUTPUT_TOKENS: Final = 100
"""Of all answers of a batch together."""


def _batch(batch_id: str, status: str) -> JsonObject:
    return {"id": batch_id, "object": "batch", "endpoint": "/v1/chat/completions", "status": status}


def begin(request: Request, _script: Script) -> Reply:
    """Answer ``POST …/batches``."""
    return json_reply(_batch(f"batch_{request.id}", "validating"))


def status(request: Request, _script: Script) -> Reply:
    """Answer ``GET …/batches/ID``: it is completed, and tells what it used."""
    usage = {
        "input_tokens": INPUT_TOKENS,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": OUTPUT_TOKENS,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
    }
    batch_id = request.path.partition("/batches/")[2].partition("/")[0]
    return json_reply(_batch(batch_id, "completed") | {"model": MODEL, "usage": usage})


def begin_messages(request: Request, _script: Script) -> Reply:
    """Answer ``POST …/messages/batches``."""
    batch_id = f"msgbatch_{request.id}"
    return json_reply({"id": batch_id, "type": "message_batch", "processing_status": "in_progress"})


def results(_request: Request, _script: Script) -> Reply:
    """Answer ``GET …/messages/batches/ID/results``: two answers, one a line."""
    usage = {"input_tokens": INPUT_TOKENS // 2, "output_tokens": OUTPUT_TOKENS // 2}
    message = {"type": "message", "role": "assistant", "model": CLAUDE, "usage": usage}
    lines = [
        compact({"custom_id": name, "result": {"type": "succeeded", "message": message}}) + b"\n"
        for name in ("first", "second")
    ]
    return Reply(
        headers=(("content-type", "application/x-jsonl"),), chunks=tuple(map(Chunk, lines))
    )
