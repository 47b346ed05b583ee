"""The table of clients as a document for people: ``docs/clients.md``."""

from collections.abc import Iterator, Mapping
from typing import Final

from llmtrace.environment.clients import Client, Enforced, Rule, enforced, table

_HEAD: Final = """\
<!-- Rendered by scripts/docs from src/llmtrace/environment/clients.yaml. -->
# Clients, one by one

All of them are put behind the gateway in the same way, with nothing installed and the settings
for that one child:

```console
$ llmtrace run -- COMMAND
```

It starts a gateway if none runs, sets one block of variables (the proxy, and what each runtime
asks for to trust a CA), and says at the end what was seen. `llmtrace run --print -- COMMAND`
shows the block; `eval "$(llmtrace env)"` sets it in a shell, beside a gateway that
`llmtrace proxy` runs. `llmtrace doctor -- COMMAND` tries it out and says what stands in the way.
A gateway that runs already is used as it is; where it has another configuration than `--config`
or `LLMTRACE_*` variables ask for, the command is not run, and the keys that differ are named.
Runs at the same time share one gateway, which ends with the last of them.

For a client that ignores proxies there is base-URL mode: `llmtrace proxy` listens on
127.0.0.1:8643 too (`reverse.listen`), where `/openai/v1`, `/anthropic`, … are the providers.

| client | tested with |
|---|---|
"""
_ENFORCED: Final = """
These were tested, unmodified, behind a gateway with `mode: enforce` (`scripts/realclients test`).
Each got what it gets without a gateway where nothing was found. A request that is blocked was
one attempt, none of it at the provider, and the message names the finding and
`llmtrace findings show`. What was hidden from the provider was back in texts and in the arguments
of tool calls. A dangerous tool call came as words of refusal, in an answer that ended as others do.

| client | tested with | | by | a blocked request | an answer that is blocked as it comes |
|---|---|---|---|---|---|
"""
_HOW: Final[Mapping[str, str]] = {
    "docker": '```console\n$ eval docker run "$(llmtrace env --shell docker)" IMAGE\n```',
    "sudo": "```console\n$ sudo llmtrace run -- COMMAND\n```",
}
"""What is not ``llmtrace run -- COMMAND``."""


def render() -> str:
    """Return the document."""
    rows = table()
    tested = (
        f"| [{row.title}](#{_anchor(row.title)}) | {row.tested or '-'} |" for row in rows.values()
    )
    sections = ("\n".join(_section(key, row)) for key, row in rows.items())
    parts = (_HEAD + "\n".join(tested), _ENFORCED + "\n".join(map(_behind, enforced())))
    return "\n".join(parts) + "\n\n" + "\n\n".join(sections) + "\n"


def _behind(row: Enforced) -> str:
    cells = (row.client, row.tested, row.calls, ", ".join(row.ways), row.refused, row.stopped)
    return f"| {' | '.join(cells)} |"


def _anchor(title: str) -> str:
    """Return the anchor that code hosts make of a heading."""
    kept = "".join(c for c in title.lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", "-")


def _section(key: str, row: Client) -> Iterator[str]:
    yield f"## {row.title}\n"
    yield _HOW.get(key) or f"```console\n$ llmtrace run -- {row.run}\n```"
    if row.runtime:
        yield f"\nIt runs on {table()[row.runtime].title}: what is said there goes for it too."
    if row.base_url:
        yield f"\nIn base-URL mode:\n\n```console\n$ {row.base_url}\n```"
    if row.rules:
        yield "\n| versions | | what to do |\n|---|---|---|"
        yield from (f"| {_versions(rule)} | {rule.why} | {rule.fix} |" for rule in row.rules)
    if row.silent:
        yield "\nWhen no call was seen:\n"
        yield from (f"- {reason.why}. Then: {reason.fix}." for reason in row.silent)


def _versions(rule: Rule) -> str:
    if not rule.start:
        return f"before {rule.below}"
    return f"{rule.start} to before {rule.below}" if rule.below else f"from {rule.start}"
