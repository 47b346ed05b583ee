"""One call of an unmodified SDK, and what it makes of a refusal: a JSON document on stdout."""

import importlib
import json
import sys
from typing import Any


def client(name: str) -> Any:
    """Import a client; the environment of the tests themselves has none."""
    return importlib.import_module(name)


def openai_chat() -> dict[str, object]:
    """Call by the SDK of OpenAI, with its own retries."""
    openai = client("openai")

    try:
        openai.OpenAI().chat.completions.create(
            model="gpt-4o-mini", max_tokens=100, messages=[{"role": "user", "content": "hi"}]
        )
    except openai.RateLimitError as error:
        return {"error": "RateLimitError", "code": error.code, "message": error.message}
    return {}


def anthropic_messages() -> dict[str, object]:
    """Call by the SDK of Anthropic, with its own retries."""
    anthropic = client("anthropic")

    try:
        anthropic.Anthropic().messages.create(
            model="claude-sonnet-4-5", max_tokens=100, messages=[{"role": "user", "content": "hi"}]
        )
    except anthropic.RateLimitError as error:
        body = error.body if isinstance(error.body, dict) else {}
        told = body.get("error", {})
        return {"error": "RateLimitError", "code": told.get("code"), "message": error.message}
    return {}


if __name__ == "__main__":
    json.dump({"openai": openai_chat, "anthropic": anthropic_messages}[sys.argv[1]](), sys.stdout)
