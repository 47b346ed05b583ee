"""The ``llmtrace`` command."""

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import click

from llmtrace import __version__


@dataclass(frozen=True, slots=True)
class Entry:
    """A command: the module that has it under its own name, and its line in the help."""

    module: str
    help: str


COMMANDS: Final[Mapping[str, Entry]] = {
    "demo": Entry("llmtrace.cli.demo", "See it work: no key, no network."),
    "run": Entry("llmtrace.cli.run", "Run one program behind the gateway."),
    "traces": Entry("llmtrace.cli.traces", "List, show, follow and export recorded calls."),
    "findings": Entry("llmtrace.cli.findings", "List what was found in calls, and explain it."),
    "costs": Entry("llmtrace.cli.costs", "Tell what calls cost, and what budgets have left."),
    "agents": Entry("llmtrace.cli.agents", "List agents that were stopped, and release them."),
    "scan": Entry("llmtrace.cli.scan", "Look for attacks, secrets and personal data in texts."),
    "models": Entry(
        "llmtrace.cli.models", "See and measure the model that reads beside the rules."
    ),
    "tenants": Entry("llmtrace.cli.tenants", "List, create and delete tenants: who pays."),
    "keys": Entry("llmtrace.cli.keys", "Make, list, revoke and rotate LLMTrace keys."),
    "proxy": Entry("llmtrace.cli.proxy", "Run the gateway until SIGTERM or Ctrl-C."),
    "env": Entry("llmtrace.cli.env", "Print the variables that put programs behind it."),
    "doctor": Entry("llmtrace.cli.doctor", "Find what stands in the way, and the fix."),
    "ca": Entry("llmtrace.cli.ca", "Show, install and replace the CA that clients trust."),
    "validate": Entry("llmtrace.cli.validate", "Check a configuration file."),
    "completion": Entry("llmtrace.cli.completion", "Print the completion script of a shell."),
}
"""The commands in the order of the help. A module is imported when its command is needed."""

EPILOG: Final = """\b
Try it without keys or network:   llmtrace demo
Put an agent behind it:           llmtrace run -- claude
Then look at what it sent:        llmtrace traces list

\b
Exit codes: 0 done; 1 it did not work, and the last line says why; 2 a word of the
command line or a key of the configuration is wrong. 'run' exits as its command does.
Files are in $LLMTRACE_HOME (~/.llmtrace), settings in docs/configuration.md.
"""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are needed: help comes at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command, None where there is none of this name."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command: click.Command = getattr(importlib.import_module(entry.module), cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is meant; a misspelt one is told with the nearest there is."""
        close = difflib.get_close_matches(args[0], COMMANDS, n=1)
        if args[0] not in COMMANDS and close:
            raise click.UsageError(f"No such command {args[0]!r}. Did you mean {close[0]}?", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EPILOG)
@click.version_option(__version__, "-V", "--version", prog_name="llmtrace")
def llmtrace() -> None:
    """Read, price and record every call that agents make to model providers."""


def main() -> None:
    """Run the command line; the entry point of the package."""
    llmtrace(prog_name="llmtrace")


if __name__ == "__main__":
    main()
