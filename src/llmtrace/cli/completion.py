"""``llmtrace completion SHELL``: the script that completes commands and options."""

from typing import Final

import click
from click.shell_completion import get_completion_class

SHELLS: Final = ("bash", "zsh", "fish")


@click.command(
    epilog="""\b
Put one of these into the file that your shell reads at its start:
    eval "$(llmtrace completion bash)"         # ~/.bashrc
    eval "$(llmtrace completion zsh)"          # ~/.zshrc
    llmtrace completion fish | source          # ~/.config/fish/config.fish
"""
)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that completes commands and options in a shell."""
    kind = get_completion_class(shell)
    if kind is None:
        raise click.ClickException(f"there is no completion for {shell}")
    complete = kind(context.find_root().command, {}, "llmtrace", "_LLMTRACE_COMPLETE")
    click.echo(complete.source_template % complete.source_vars())
