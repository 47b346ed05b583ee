"""The real coding agents, as tests start them: for one turn, without a person."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROMPT: Final = "{prompt}"
URL: Final = "{url}"
_CODEX: Final = ("codex", "exec", "--skip-git-repo-check", "--sandbox", "danger-full-access")
_OVER_HTTP: Final = (
    *("-c", "model_provider=plain", "-c"),
    'model_providers.plain={name="plain", base_url="https://api.openai.com/v1", '
    'env_key="OPENAI_API_KEY", wire_api="responses", supports_websockets=false}',
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """An agent, and what its traces must say.

    ``command`` is its command line, with ``PROMPT`` where the prompt goes. ``tool`` is what it
    runs commands with; with ``scripted`` that takes JavaScript, which asks for the shell.
    ``calls`` is how many model calls it makes where one would do. ``base_url`` are the variables
    that put it behind base-URL mode, or options, with ``URL`` for where that is.
    """

    id: str
    command: Sequence[str]
    keys: Mapping[str, str]
    provider: str
    dialect: str
    protocol: str
    client: str
    tool: str
    scripted: bool = False
    calls: int = 1
    base_url: Mapping[str, str] | Sequence[str] = ()

    def asked(self, prompt: str) -> list[str]:
        """Return the command line that has it answer a prompt."""
        return [word.replace(PROMPT, prompt) for word in self.command]

    def behind(self, url: str) -> tuple[Mapping[str, str], Sequence[str]]:
        """Return the variables and the options that put it behind base-URL mode at ``url``."""
        if isinstance(self.base_url, Mapping):
            return {key: value.replace(URL, url) for key, value in self.base_url.items()}, ()
        return {}, [word.replace(URL, url) for word in self.base_url]

    def runs(self, command: str) -> str:
        """Return what a script says for the agent to run a shell command (see ``script``)."""
        if self.scripted:
            code = f"const r = await tools.exec_command({{cmd: {json.dumps(command)}}}); "
            return f"tool_call={self.tool} {json.dumps(code + 'text(r.output)')}"
        arguments = {"command": command, "description": "run it"}
        return f"tool_call={self.tool} {json.dumps(arguments)}"

    def environment(self, binaries: Path, home: Path) -> dict[str, str]:
        """Return the environment of a person who has nothing but the agent and its key."""
        return {
            "HOME": str(home),
            "PATH": f"{binaries}:{os.environ['PATH']}",
            "LANG": "C.UTF-8",
            "TERM": "xterm-256color",
            **self.keys,
        }


def _codex(name: str, protocol: str, *options: str) -> Agent:
    return Agent(
        id=f"codex-over-{name}",
        command=(*_CODEX, *options, PROMPT),
        keys={"OPENAI_API_KEY": "sk-fake", "CODEX_API_KEY": "sk-fake"},
        provider="openai",
        dialect="openai.responses",
        protocol=protocol,
        client="codex",
        tool="exec",
        scripted=True,
        base_url=("-c", f'openai_base_url="{URL}/openai/v1"') if not options else (),
    )


AGENTS: Final = (
    Agent(
        id="claude-code",
        command=("claude", "-p", PROMPT, "--allowedTools", "Bash"),
        keys={"ANTHROPIC_API_KEY": "sk-ant-fake"},
        provider="anthropic",
        dialect="anthropic.messages",
        protocol="http/1.1",
        client="claude-code",
        tool="Bash",
        base_url={"ANTHROPIC_BASE_URL": f"{URL}/anthropic"},
    ),
    _codex("websocket", "websocket"),
    _codex("http", "h2", *_OVER_HTTP),
    Agent(
        id="gemini-cli",
        command=("gemini", "-p", PROMPT, "--skip-trust", "-m", "gemini-2.5-flash", "--yolo"),
        keys={"GEMINI_API_KEY": "fake"},
        provider="gemini",
        dialect="gemini.generate",
        protocol="http/1.1",
        client="gemini-cli",
        tool="run_shell_command",
    ),
    Agent(
        id="opencode",
        command=("opencode", "run", "-m", "anthropic/claude-sonnet-4-5", PROMPT),
        keys={"ANTHROPIC_API_KEY": "sk-ant-fake"},
        provider="anthropic",
        dialect="anthropic.messages",
        protocol="http/1.1",
        client="opencode",
        tool="bash",
        calls=2,  # it asks for a title too
    ),
)
