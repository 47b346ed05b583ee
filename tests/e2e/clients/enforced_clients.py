"""Unmodified Python clients, asked one thing after another; errors are told, not hidden.

``python enforced_clients.py CASE PROMPT…`` runs in an environment that has the clients. For each
prompt it writes one JSON line to stdout: what the application got (``text``, ``tools``,
``finish``), or also the ``error`` that it met after that. Nothing here knows of a gateway.
"""

import asyncio
import gc
import importlib
import json
import sys
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

_OLLAMA = "gpt-oss:20b"
_TOOLS = ("run_shell", "Bash", "Write")
_SCHEMA: Any = {"type": "object", "properties": {}}
_STRICT: Any = _SCHEMA | {"additionalProperties": False, "required": []}
_CLAUDE = "anthropic.claude-3-5-sonnet-20241022-v2:0"


@dataclass
class Heard:
    """What an application has got of one answer so far."""

    text: str = ""
    tools: list[list[Any]] = field(default_factory=list)
    finish: str = ""


type Case = Callable[[str, Heard], object]


def client(name: str) -> Any:
    """Import a client; the environment of the tests themselves has none."""
    return importlib.import_module(name)


def _said(prompt: str) -> Any:
    return [{"role": "user", "content": prompt}]


# ---- OpenAI ---------------------------------------------------------------------------------


def _functions() -> list[Any]:
    return [{"name": name, "parameters": _STRICT, "strict": True} for name in _TOOLS]


def _chat(prompt: str, model: str = "gpt-4o") -> Any:
    tools = [{"type": "function", "function": function} for function in _functions()]
    return {"model": model, "messages": _said(prompt), "tools": tools}


def _responses(prompt: str) -> Any:
    tools = [{"type": "function", **function} for function in _functions()]
    return {"model": "gpt-5", "input": prompt, "tools": tools}


def _chat_answer(answer: Any, heard: Heard) -> None:
    [choice] = answer.choices
    heard.text = choice.message.content or ""
    calls = choice.message.tool_calls or ()
    heard.tools = [[call.function.name, json.loads(call.function.arguments)] for call in calls]
    heard.finish = choice.finish_reason


class _ChatPieces:
    """Puts the chunks of a chat completion together, as its documentation says."""

    def __init__(self, heard: Heard) -> None:
        self._heard = heard
        self._calls: dict[int, list[str]] = {}

    def take(self, chunk: Any) -> None:
        for choice in chunk.choices:
            self._heard.text += choice.delta.content or ""
            for call in choice.delta.tool_calls or ():
                known = self._calls.setdefault(call.index, ["", ""])
                known[0] += call.function.name or ""
                known[1] += call.function.arguments or ""
            self._heard.finish = choice.finish_reason or self._heard.finish

    def end(self) -> None:
        self._heard.tools = [[name, json.loads(said)] for name, said in self._calls.values()]


def openai_chat(prompt: str, heard: Heard) -> None:
    _chat_answer(client("openai").OpenAI().chat.completions.create(**_chat(prompt)), heard)


def openai_chat_stream(prompt: str, heard: Heard) -> None:
    pieces = _ChatPieces(heard)
    openai = client("openai").OpenAI()
    for chunk in openai.chat.completions.create(**_chat(prompt), stream=True):
        pieces.take(chunk)
    pieces.end()


def openai_chat_helper(prompt: str, heard: Heard) -> None:
    """Stream with the library's own accumulator."""
    with client("openai").OpenAI().chat.completions.stream(**_chat(prompt)) as stream:
        for event in stream:
            heard.text += event.delta if event.type == "content.delta" else ""
        _chat_answer(stream.get_final_completion(), heard)


async def openai_chat_async(prompt: str, heard: Heard) -> None:
    async with client("openai").AsyncOpenAI() as openai:
        _chat_answer(await openai.chat.completions.create(**_chat(prompt)), heard)


async def openai_chat_stream_async(prompt: str, heard: Heard) -> None:
    pieces = _ChatPieces(heard)
    async with client("openai").AsyncOpenAI() as openai:
        async for chunk in await openai.chat.completions.create(**_chat(prompt), stream=True):
            pieces.take(chunk)
    pieces.end()


def _response(answer: Any, heard: Heard) -> None:
    heard.text = answer.output_text
    calls = [item for item in answer.output if item.type == "function_call"]
    heard.tools = [[call.name, json.loads(call.arguments)] for call in calls]
    heard.finish = answer.status


def openai_responses(prompt: str, heard: Heard) -> None:
    openai = client("openai").OpenAI()
    _response(openai.responses.create(**_responses(prompt)), heard)


async def openai_responses_async(prompt: str, heard: Heard) -> None:
    async with client("openai").AsyncOpenAI() as openai:
        _response(await openai.responses.create(**_responses(prompt)), heard)


def openai_responses_stream(prompt: str, heard: Heard) -> None:
    """Hear the deltas; what the last event says again must be the same."""
    openai, spoken = client("openai").OpenAI(), ""
    for event in openai.responses.create(**_responses(prompt), stream=True):
        if event.type == "response.output_text.delta":
            spoken += event.delta
            heard.text = spoken
        elif event.type in {"response.completed", "response.incomplete"}:
            _response(event.response, heard)
            assert heard.text == spoken, "the last event says another text than the deltas"


def openai_responses_helper(prompt: str, heard: Heard) -> None:
    """Stream with the library's own accumulator."""
    with client("openai").OpenAI().responses.stream(**_responses(prompt)) as stream:
        for event in stream:
            heard.text += event.delta if event.type == "response.output_text.delta" else ""
        _response(stream.get_final_response(), heard)


async def openai_responses_stream_async(prompt: str, heard: Heard) -> None:
    async with client("openai").AsyncOpenAI() as openai:
        async for event in await openai.responses.create(**_responses(prompt), stream=True):
            heard.text += event.delta if event.type == "response.output_text.delta" else ""
            if event.type in {"response.completed", "response.incomplete"}:
                _response(event.response, heard)


# ---- Anthropic ------------------------------------------------------------------------------


def _messages(prompt: str) -> Any:
    tools = [{"name": name, "input_schema": _SCHEMA} for name in _TOOLS]
    request = {"model": "claude-sonnet-4-5", "max_tokens": 64}
    return {**request, "messages": _said(prompt), "tools": tools}


def _message(answer: Any, heard: Heard) -> None:
    heard.text = "".join(block.text for block in answer.content if block.type == "text")
    calls = [block for block in answer.content if block.type == "tool_use"]
    heard.tools = [[block.name, block.input] for block in calls]
    heard.finish = answer.stop_reason


def anthropic_messages(prompt: str, heard: Heard) -> None:
    _message(client("anthropic").Anthropic().messages.create(**_messages(prompt)), heard)


async def anthropic_messages_async(prompt: str, heard: Heard) -> None:
    async with client("anthropic").AsyncAnthropic() as anthropic:
        _message(await anthropic.messages.create(**_messages(prompt)), heard)


def anthropic_stream(prompt: str, heard: Heard) -> None:
    with client("anthropic").Anthropic().messages.stream(**_messages(prompt)) as stream:
        for text in stream.text_stream:
            heard.text += text
        spoken = heard.text
        _message(stream.get_final_message(), heard)
        assert heard.text == spoken, "the message says another text than the deltas"


async def anthropic_stream_async(prompt: str, heard: Heard) -> None:
    async with (
        client("anthropic").AsyncAnthropic() as anthropic,
        anthropic.messages.stream(**_messages(prompt)) as stream,
    ):
        async for text in stream.text_stream:
            heard.text += text
        _message(await stream.get_final_message(), heard)


# ---- Google ---------------------------------------------------------------------------------


def _asked(prompt: str) -> Any:
    tools = [{"function_declarations": [{"name": name} for name in _TOOLS]}]
    return {"model": "gemini-2.5-flash", "contents": prompt, "config": {"tools": tools}}


def _gemini(answer: Any, heard: Heard) -> None:
    for candidate in answer.candidates or ():
        for part in (candidate.content and candidate.content.parts) or ():
            heard.text += part.text or ""
            if part.function_call:
                heard.tools.append([part.function_call.name, part.function_call.args])
        if candidate.finish_reason:
            heard.finish = candidate.finish_reason.value


def gemini_generate(prompt: str, heard: Heard) -> None:
    google = client("google.genai").Client(api_key="fake")
    _gemini(google.models.generate_content(**_asked(prompt)), heard)


def gemini_stream(prompt: str, heard: Heard) -> None:
    google = client("google.genai").Client(api_key="fake")
    for chunk in google.models.generate_content_stream(**_asked(prompt)):
        _gemini(chunk, heard)


async def gemini_stream_async(prompt: str, heard: Heard) -> None:
    google = client("google.genai").Client(api_key="fake")
    async for chunk in await google.aio.models.generate_content_stream(**_asked(prompt)):
        _gemini(chunk, heard)


# ---- Amazon Bedrock -------------------------------------------------------------------------


def _bedrock(**keys: str) -> Any:
    return client("boto3").client("bedrock-runtime", region_name="us-east-1", **keys)


def _turn(prompt: str) -> Any:
    schema = {"json": _SCHEMA}
    tools = [{"toolSpec": {"name": name, "inputSchema": schema}} for name in _TOOLS]
    messages = [{"role": "user", "content": [{"text": prompt}]}]
    return {"modelId": _CLAUDE, "messages": messages, "toolConfig": {"tools": tools}}


def _converse(bedrock: Any, prompt: str, heard: Heard) -> None:
    answer = bedrock.converse(**_turn(prompt))
    for block in answer["output"]["message"]["content"]:
        heard.text += block.get("text", "")
        if "toolUse" in block:
            heard.tools.append([block["toolUse"]["name"], block["toolUse"]["input"]])
    heard.finish = answer["stopReason"]


def bedrock_converse(prompt: str, heard: Heard) -> None:
    """Ask with a bearer key, which the environment has."""
    _converse(_bedrock(), prompt, heard)


def bedrock_converse_signed(prompt: str, heard: Heard) -> None:
    keys = {"aws_access_key_id": "AKIAFAKEFAKEFAKEFAKE", "aws_secret_access_key": "fake"}
    config = client("botocore.config").Config(signature_version="v4")
    _converse(_bedrock(config=config, **keys), prompt, heard)


def bedrock_converse_stream(prompt: str, heard: Heard) -> None:
    calls: dict[int, list[str]] = {}
    for event in _bedrock().converse_stream(**_turn(prompt))["stream"]:
        if opened := event.get("contentBlockStart", {}).get("start", {}).get("toolUse"):
            calls[event["contentBlockStart"]["contentBlockIndex"]] = [opened["name"], ""]
        delta = event.get("contentBlockDelta", {}).get("delta", {})
        heard.text += delta.get("text", "")
        if "toolUse" in delta:
            calls[event["contentBlockDelta"]["contentBlockIndex"]][1] += delta["toolUse"]["input"]
        heard.finish = event.get("messageStop", {}).get("stopReason", heard.finish)
    heard.tools = [[name, json.loads(said)] for name, said in calls.values()]


# ---- others ---------------------------------------------------------------------------------


def _ollama(part: Any, heard: Heard) -> None:
    heard.text += part.message.content or ""
    calls = part.message.tool_calls or ()
    heard.tools += [[call.function.name, dict(call.function.arguments)] for call in calls]
    heard.finish = part.done_reason or heard.finish


def ollama_chat(prompt: str, heard: Heard) -> None:
    _ollama(client("ollama").Client().chat(**_chat(prompt, _OLLAMA)), heard)


def ollama_chat_stream(prompt: str, heard: Heard) -> None:
    for part in client("ollama").Client().chat(**_chat(prompt, _OLLAMA), stream=True):
        _ollama(part, heard)


def _litellm(**request: Any) -> Any:
    litellm = client("litellm")
    litellm.suppress_debug_info = True  # it is written to stdout
    return litellm.completion(**request)


def litellm_openai(prompt: str, heard: Heard) -> None:
    _chat_answer(_litellm(**_chat(prompt, "openai/gpt-4o")), heard)


def _litellm_stream(model: str) -> Case:
    def case(prompt: str, heard: Heard) -> None:
        pieces = _ChatPieces(heard)
        for chunk in _litellm(**_chat(prompt, model), stream=True):
            pieces.take(chunk)
        pieces.end()

    return case


# ---- running them ---------------------------------------------------------------------------

_CASES: Iterable[Case] = (
    *(openai_chat, openai_chat_stream, openai_chat_helper),
    *(openai_chat_async, openai_chat_stream_async),
    *(openai_responses, openai_responses_async, openai_responses_stream),
    *(openai_responses_helper, openai_responses_stream_async),
    *(anthropic_messages, anthropic_messages_async, anthropic_stream, anthropic_stream_async),
    *(gemini_generate, gemini_stream, gemini_stream_async),
    *(bedrock_converse, bedrock_converse_signed, bedrock_converse_stream),
    *(ollama_chat, ollama_chat_stream, litellm_openai),
)
CASES: dict[str, Case] = {
    **{case.__name__: case for case in _CASES},
    "litellm_openai_stream": _litellm_stream("openai/gpt-4o"),
    "litellm_anthropic_stream": _litellm_stream("anthropic/claude-sonnet-4-5"),
}


def _error(error: BaseException) -> dict[str, Any]:
    """Tell of an error what an application can see of it."""
    names = [f"{kind.__module__}.{kind.__name__}" for kind in type(error).__mro__]
    return {"names": names, "status": getattr(error, "status_code", None), "message": str(error)}


async def _finish(awaitable: Awaitable[object]) -> None:
    await awaitable


def ask(case: Case, prompt: str) -> dict[str, Any]:
    """Ask one thing; return what came of it."""
    heard = Heard()
    try:
        pending = case(prompt, heard)
        if isinstance(pending, Awaitable):
            asyncio.run(_finish(pending))
    except Exception as error:  # noqa: BLE001 - whatever it is, the test is told
        return {**asdict(heard), "error": _error(error)}
    return asdict(heard)


if __name__ == "__main__":
    # litellm leaves streams open; collected while httpcore holds its pool's lock, one waits for it
    gc.disable()
    for question in sys.argv[2:]:
        sys.stdout.write(json.dumps(ask(CASES[sys.argv[1]], question)) + "\n")
        sys.stdout.flush()
        gc.collect()
