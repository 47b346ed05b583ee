"""Calls of unmodified Python clients, as an application would make them.

``python python_clients.py CASE PROMPT`` runs in an environment that has the clients. It writes one
JSON line to stdout when the first piece of a stream has arrived (``{"event": "first"}``), and
one with what the application got (``{"event": "result", …}``). Nothing here knows of a gateway.
"""

import asyncio
import importlib
import json
import sys
from collections.abc import AsyncIterable, Callable, Iterable
from typing import Any

type Result = dict[str, Any]

_TOOL = {"type": "object", "properties": {"command": {"type": "string"}}}


def client(name: str) -> Any:
    """Import a client; the environment of the tests themselves has none."""
    return importlib.import_module(name)


def tell(event: str, **fields: object) -> None:
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


def heard(pieces: Iterable[str | None]) -> str:
    """Join the texts of a stream, telling of the first."""
    found = ""
    for piece in pieces:
        if piece and not found:
            tell("first")
        found += piece or ""
    return found


async def aheard(pieces: AsyncIterable[str | None]) -> str:
    found = ""
    async for piece in pieces:
        if piece and not found:
            tell("first")
        found += piece or ""
    return found


# ---- OpenAI ---------------------------------------------------------------------------------


def _chat(prompt: str, model: str = "gpt-4o") -> Any:
    return {"model": model, "messages": [{"role": "user", "content": prompt}]}


def _chat_result(answer: Any) -> Result:
    message = answer.choices[0].message
    calls = [[c.function.name, c.function.arguments] for c in message.tool_calls or ()]
    return {"text": message.content, "tools": calls, "tokens": answer.usage.total_tokens}


def openai_chat(prompt: str) -> Result:
    return _chat_result(client("openai").OpenAI().chat.completions.create(**_chat(prompt)))


def openai_chat_tool(prompt: str) -> Result:
    tools = [{"type": "function", "function": {"name": "run_shell", "parameters": _TOOL}}]
    return _chat_result(
        client("openai").OpenAI().chat.completions.create(**_chat(prompt), tools=tools)
    )


def openai_chat_stream(prompt: str) -> Result:
    stream = (
        client("openai")
        .OpenAI()
        .chat.completions.create(
            **_chat(prompt), stream=True, stream_options={"include_usage": True}
        )
    )
    usage = []

    def texts() -> Iterable[str | None]:
        for chunk in stream:
            if chunk.usage:
                usage.append(chunk.usage.total_tokens)
            yield chunk.choices[0].delta.content if chunk.choices else None

    return {"text": heard(texts()), "tokens": usage[-1]}


def openai_chat_stream_without_usage(prompt: str) -> Result:
    stream = client("openai").OpenAI().chat.completions.create(**_chat(prompt), stream=True)
    return {"text": heard(chunk.choices[0].delta.content for chunk in stream)}


def openai_chat_async(prompt: str) -> Result:
    async def run() -> Result:
        async with client("openai").AsyncOpenAI() as openai:
            return _chat_result(await openai.chat.completions.create(**_chat(prompt)))

    return asyncio.run(run())


def openai_chat_stream_async(prompt: str) -> Result:
    async def run() -> Result:
        async with client("openai").AsyncOpenAI() as openai:
            stream = await openai.chat.completions.create(**_chat(prompt), stream=True)
            return {"text": await aheard(chunk.choices[0].delta.content async for chunk in stream)}

    return asyncio.run(run())


def openai_responses(prompt: str) -> Result:
    answer = client("openai").OpenAI().responses.create(model="gpt-5", input=prompt)
    return {"text": answer.output_text, "tokens": answer.usage.total_tokens}


def openai_responses_stream(prompt: str) -> Result:
    with client("openai").OpenAI().responses.stream(model="gpt-5", input=prompt) as stream:
        text = heard(e.delta for e in stream if e.type == "response.output_text.delta")
        return {"text": text, "tokens": stream.get_final_response().usage.total_tokens}


def openai_embeddings(prompt: str) -> Result:
    model = "text-embedding-3-small"
    answer = client("openai").OpenAI().embeddings.create(model=model, input=[prompt, "two"])
    return {"vectors": [row.embedding for row in answer.data], "tokens": answer.usage.total_tokens}


def openai_realtime(prompt: str) -> Result:
    item = {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": prompt}],
    }

    async def run() -> Result:
        done: list[Any] = []
        async with (
            client("openai").AsyncOpenAI() as openai,
            openai.realtime.connect(model="gpt-realtime") as connection,
        ):
            await connection.conversation.item.create(item=item)
            await connection.response.create(response={"input": [item]})

            async def texts() -> AsyncIterable[str | None]:
                async for event in connection:
                    if event.type == "response.done":
                        done.append(event.response.usage.total_tokens)
                        return
                    yield event.delta if event.type == "response.output_text.delta" else None

            return {"text": await aheard(texts()), "tokens": done[0]}

    return asyncio.run(run())


def azure_chat(prompt: str) -> Result:
    openai = client("openai").AzureOpenAI(
        azure_endpoint="https://example.openai.azure.com", api_version="2024-10-21", api_key="fake"
    )
    return _chat_result(openai.chat.completions.create(**_chat(prompt, "my-deployment")))


# ---- Anthropic ------------------------------------------------------------------------------


def _messages(prompt: str) -> Any:
    messages = [{"role": "user", "content": prompt}]
    return {"model": "claude-sonnet-4-5", "max_tokens": 64, "messages": messages}


def _message_result(answer: Any) -> Result:
    tools = [[block.name, block.input] for block in answer.content if block.type == "tool_use"]
    text = "".join(block.text for block in answer.content if block.type == "text")
    return {"text": text, "tools": tools, "tokens": answer.usage.output_tokens}


def anthropic_messages(prompt: str) -> Result:
    return _message_result(client("anthropic").Anthropic().messages.create(**_messages(prompt)))


def anthropic_messages_async(prompt: str) -> Result:
    async def run() -> Result:
        async with client("anthropic").AsyncAnthropic() as anthropic:
            return _message_result(await anthropic.messages.create(**_messages(prompt)))

    return asyncio.run(run())


def anthropic_messages_stream(prompt: str) -> Result:
    with client("anthropic").Anthropic().messages.stream(**_messages(prompt)) as stream:
        text = heard(stream.text_stream)
        return {**_message_result(stream.get_final_message()), "heard": text}


def anthropic_tool_stream(prompt: str) -> Result:
    tools = [{"name": "run_shell", "description": "Run it.", "input_schema": _TOOL}]
    anthropic = client("anthropic").Anthropic()
    with anthropic.messages.stream(**_messages(prompt), tools=tools) as stream:
        return _message_result(stream.get_final_message())


def anthropic_error(prompt: str) -> Result:
    anthropic = client("anthropic")
    try:
        anthropic.Anthropic(max_retries=0).messages.create(**_messages(prompt))
    except anthropic.APIStatusError as error:
        return {"status": error.status_code, "body": error.body}
    return {}


# ---- Google ---------------------------------------------------------------------------------


def _gemini(**options: Any) -> Any:
    # The caller keeps it: its connection closes with it.
    return client("google.genai").Client(api_key="fake", **options)


def _asked(prompt: str) -> Any:
    return {"model": "gemini-2.5-flash", "contents": prompt}


def _gemini_result(answer: Any) -> Result:
    return {"text": answer.text, "tokens": answer.usage_metadata.total_token_count}


def gemini_generate(prompt: str) -> Result:
    gemini = _gemini()
    return _gemini_result(gemini.models.generate_content(**_asked(prompt)))


def gemini_stream(prompt: str) -> Result:
    gemini = _gemini()
    stream = gemini.models.generate_content_stream(**_asked(prompt))
    return {"text": heard(chunk.text for chunk in stream)}


def gemini_async(prompt: str) -> Result:
    async def run() -> Result:
        gemini = _gemini()
        return _gemini_result(await gemini.aio.models.generate_content(**_asked(prompt)))

    return asyncio.run(run())


def vertex_generate(prompt: str) -> Result:
    vertex = _gemini(vertexai=True)
    return _gemini_result(vertex.models.generate_content(**_asked(prompt)))


# ---- Amazon Bedrock -------------------------------------------------------------------------

_CLAUDE = "anthropic.claude-3-5-sonnet-20241022-v2:0"


def _bedrock() -> Any:
    keys = {"aws_access_key_id": "AKIAFAKEFAKEFAKEFAKE", "aws_secret_access_key": "fake"}
    return client("boto3").client("bedrock-runtime", region_name="us-east-1", **keys)


def _turn(prompt: str) -> Any:
    return [{"role": "user", "content": [{"text": prompt}]}]


def bedrock_converse(prompt: str) -> Result:
    answer = _bedrock().converse(modelId=_CLAUDE, messages=_turn(prompt))
    text = answer["output"]["message"]["content"][0]["text"]
    return {"text": text, "tokens": answer["usage"]["totalTokens"]}


def bedrock_converse_stream(prompt: str) -> Result:
    answer = _bedrock().converse_stream(modelId=_CLAUDE, messages=_turn(prompt))
    usage = []

    def texts() -> Iterable[str | None]:
        for event in answer["stream"]:
            if "metadata" in event:
                usage.append(event["metadata"]["usage"]["totalTokens"])
            yield event.get("contentBlockDelta", {}).get("delta", {}).get("text")

    return {"text": heard(texts()), "tokens": usage[-1]}


def _native(prompt: str) -> str:
    body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 64}
    return json.dumps(body | {"messages": [{"role": "user", "content": prompt}]})


def bedrock_invoke(prompt: str) -> Result:
    answer = _bedrock().invoke_model(modelId=_CLAUDE, body=_native(prompt))
    return {"answer": json.loads(answer["body"].read())["content"]}


def bedrock_invoke_stream(prompt: str) -> Result:
    answer = _bedrock().invoke_model_with_response_stream(modelId=_CLAUDE, body=_native(prompt))
    events = (json.loads(event["chunk"]["bytes"]) for event in answer["body"])
    return {"text": heard(event.get("delta", {}).get("text") for event in events)}


# ---- others ---------------------------------------------------------------------------------


def _ollama() -> Any:
    return client("ollama").Client(host="https://ollama.com")


def _said(prompt: str) -> Any:
    return [{"role": "user", "content": prompt}]


def ollama_chat(prompt: str) -> Result:
    answer = _ollama().chat(model="gpt-oss:20b", messages=_said(prompt))
    return {"text": answer.message.content, "tokens": answer.eval_count}


def ollama_chat_stream(prompt: str) -> Result:
    stream = _ollama().chat(model="gpt-oss:20b", messages=_said(prompt), stream=True)
    return {"text": heard(part.message.content for part in stream)}


def ollama_generate(prompt: str) -> Result:
    return {"text": _ollama().generate(model="gpt-oss:20b", prompt=prompt).response}


def mistral_chat(prompt: str) -> Result:
    mistral = client("mistralai.client").Mistral(api_key="fake")
    return _chat_result(mistral.chat.complete(model="mistral-small-latest", messages=_said(prompt)))


def mistral_stream(prompt: str) -> Result:
    mistral = client("mistralai.client").Mistral(api_key="fake")
    stream = mistral.chat.stream(model="mistral-small-latest", messages=_said(prompt))
    pieces = (event.data.choices[0].delta.content for event in stream)
    return {"text": heard(piece if isinstance(piece, str) else None for piece in pieces)}


def groq_chat(prompt: str) -> Result:
    groq = client("groq").Groq(api_key="fake")
    return _chat_result(groq.chat.completions.create(**_chat(prompt, "llama-3.3-70b-versatile")))


def litellm_openai(prompt: str) -> Result:
    return _chat_result(client("litellm").completion(**_chat(prompt, "openai/gpt-4o")))


def litellm_anthropic_stream(prompt: str) -> Result:
    stream = client("litellm").completion(
        **_chat(prompt, "anthropic/claude-sonnet-4-5"), stream=True
    )
    return {"text": heard(chunk.choices[0].delta.content for chunk in stream)}


def requests_chat(prompt: str) -> Result:
    answer = client("requests").post(
        "https://api.openai.com/v1/chat/completions",
        json=_chat(prompt),
        headers={"authorization": "Bearer sk-fake"},
        timeout=30,
    )
    return {"status": answer.status_code, "answer": answer.json()["choices"]}


def aiohttp_chat(prompt: str) -> Result:
    async def run() -> Result:
        async with (
            client("aiohttp").ClientSession(trust_env=True) as session,
            session.post(
                "https://api.openai.com/v1/chat/completions",
                json=_chat(prompt),
                headers={"authorization": "Bearer sk-fake"},
            ) as answer,
        ):
            return {"status": answer.status, "answer": (await answer.json())["choices"]}

    return asyncio.run(run())


_CASES = (
    *(openai_chat, openai_chat_tool, openai_chat_stream, openai_chat_stream_without_usage),
    *(openai_chat_async, openai_chat_stream_async, openai_responses, openai_responses_stream),
    *(openai_embeddings, openai_realtime, azure_chat),
    *(anthropic_messages, anthropic_messages_async, anthropic_messages_stream),
    *(anthropic_tool_stream, anthropic_error),
    *(gemini_generate, gemini_stream, gemini_async, vertex_generate),
    *(bedrock_converse, bedrock_converse_stream, bedrock_invoke, bedrock_invoke_stream),
    *(ollama_chat, ollama_chat_stream, ollama_generate),
    *(mistral_chat, mistral_stream, groq_chat, litellm_openai, litellm_anthropic_stream),
    *(requests_chat, aiohttp_chat),
)
CASES: dict[str, Callable[[str], Result]] = {case.__name__: case for case in _CASES}


if __name__ == "__main__":
    tell("result", **CASES[sys.argv[1]](sys.argv[2]))
