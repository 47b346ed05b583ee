"""The ``llmtrace`` command."""

import click

from llmtrace import __version__
from llmtrace.cli.ca import ca
from llmtrace.cli.demo import demo
from llmtrace.cli.doctor import doctor
from llmtrace.cli.env import env
from llmtrace.cli.proxy import proxy
from llmtrace.cli.run import run
from llmtrace.cli.traces import traces
from llmtrace.cli.validate import validate


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="llmtrace")
def llmtrace() -> None:
    """Read, price and record every call that agents make to model providers.

    Try it without keys or network: llmtrace demo. Put an agent behind it: llmtrace run -- CMD.
    """


for command in (ca, demo, doctor, env, proxy, run, traces, validate):
    llmtrace.add_command(command)


def main() -> None:
    """Run the command line; the entry point of the package."""
    llmtrace(prog_name="llmtrace")


if __name__ == "__main__":
    main()
